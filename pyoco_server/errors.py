"""Every error of pyoco-server: one tree, one mapping to error id, HTTP status and exit status.

::

    PyocoServerError
    ├── InvalidInput                 ERR-PYOCO-0002  422
    │   ├── WorkflowInvalid          a flow.yaml that cannot be accepted
    │   ├── InvalidListQuery         ERR-PYOCO-0017
    │   ├── InvalidWorkersRequest    ERR-PYOCO-0019
    │   ├── IdempotencyKeyReused     a key that stands for another request
    │   └── WheelInvalid             a wheel that cannot be accepted
    ├── TooLarge                     ERR-PYOCO-0002  413
    │   ├── WorkflowTooLarge         ERR-PYOCO-0016
    │   └── SnapshotTooLarge         ERR-PYOCO-0010
    ├── ForeignOrigin                403, a form that another site sent
    ├── NotFound                     404
    │   ├── RunNotFound              ERR-PYOCO-0005
    │   ├── WheelNotFound            ERR-PYOCO-0023
    │   ├── ArtifactNotFound         ERR-PYOCO-0029
    │   ├── DeadLetterNotFound       ERR-PYOCO-0025
    │   └── WorkerNotFound           ERR-PYOCO-0020
    ├── WheelConflict                ERR-PYOCO-0022  409
    ├── CannotRunAgain               ERR-PYOCO-0026  409
    ├── ApiKeyMissing                ERR-PYOCO-0014  401
    ├── ApiKeyInvalid                ERR-PYOCO-0015  403
    │   └── ApiKeyReadOnly           a request that writes, with a key that may only read
    ├── CannotDrain                  ERR-PYOCO-0027  409
    ├── ThreadDied                   503, a gateway or worker within a program is broken
    ├── WorkerClosed                 a worker within a program was closed before
    ├── InvalidJob                   ERR-PYOCO-0012  a queued job that cannot be read
    ├── FlowNotFound                 ERR-PYOCO-0006  a worker cannot resolve the flow
    │   └── NotAllowed               …or may not execute a task of it
    ├── WheelSyncFailed              ERR-PYOCO-0024  a worker cannot install a wheel
    ├── Unavailable                  ERR-PYOCO-0003  503, worth another try later
    │   ├── BusUnavailable           NATS did not answer in time
    │   │   ├── BusTimeout           …and what was asked may have been done
    │   │   ├── SignInRefused        NATS answers, and refuses user, password, token or certificate
    │   │   ├── BusDenied            NATS answers, and permits the user less than is asked
    │   │   └── SubmissionUncertain  …and the run may have been accepted
    │   ├── ReadModelLoading         lists are not complete yet
    │   ├── TooManyWatches           every place for a watch is taken
    │   ├── KeysUnknown              whether a key is valid cannot be said
    │   ├── TooManyKeyChecks         other keys are being checked
    │   └── TooMuchInWork            other large requests and answers are in work
    ├── BusError                     ERR-PYOCO-0003  NATS refused a request
    │   ├── RevisionConflict         another writer was first
    │   ├── KeyMissing               no such key in a bucket
    │   └── ResourceMissing          no such stream, bucket or consumer
    ├── GatewayUnreachable           ERR-PYOCO-HTTP  the client found no gateway
    ├── GatewayRefused               ERR-PYOCO-HTTP  the gateway answered with an error
    ├── RunsRefused                  ERR-PYOCO-HTTP  the gateway refused some of many runs
    ├── CancelNotFinished            ERR-PYOCO-CANCEL  a cancelled run has not ended in time; a TimeoutError, too
    ├── RunNotCompleted              ERR-PYOCO-RUN   a run that was waited for is not COMPLETED
    └── InvalidCommand               ERR-PYOCO-0018  bad argument, setting or file
        └── InvalidSetting           a setting that does not parse or contradicts another

The class attributes are the whole mapping: the gateway's error handler and the commands' wrapper read
them and nothing else decides about a status. They stand in one file, however long, so that it can be read whole: what
may go wrong, what it is called and how it is answered.

Source: contract, sections 3, 5 and 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

ErrorT = TypeVar("ErrorT", bound="PyocoServerError")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with an input, and where.

    :param loc: path of the faulty value, such as ``body.params`` or ``tasks.load.callable``.
    :param msg: a sentence that says what is wrong and what to change.
    :param line: line in the text it was found in, from 1; ``None`` where the input has no lines.
    :param column: column in that line, from 1.
    """

    loc: str
    msg: str
    line: int | None = None
    column: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON form: ``loc`` and ``msg``, with ``line`` and ``column`` where they are known."""
        document: dict[str, Any] = {"loc": self.loc, "msg": self.msg}
        if self.line is not None:
            document["line"] = self.line
        if self.column is not None:
            document["column"] = self.column
        return document

    def __str__(self) -> str:
        place = "" if self.line is None else f"line {self.line}, column {self.column or 1}: "
        return f"{place}{self.loc}: {self.msg}" if self.loc else f"{place}{self.msg}"


class PyocoServerError(Exception):
    """Something in pyoco-server went wrong."""

    #: The stable id that users search for; None where an error never leaves the process.
    err_id: ClassVar[str | None] = None
    #: The status a gateway answers with.
    http_status: ClassVar[int] = 500
    #: The exit status of a command (contract 5: 1 is everything that the user can mend).
    exit_code: ClassVar[int] = 1
    #: Whether the same call may succeed later without any change.
    retryable: bool = False
    #: Lines that a command prints below the error: how it is done.
    hints: tuple[str, ...] = ()

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or type(self).title())

    @classmethod
    def title(cls) -> str:
        """Give the first line of the class's docstring: the same for every error of the class."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    @property
    def detail(self) -> str:
        return str(self)

    def without_frames(self: ErrorT) -> ErrorT:
        """Forget where the error came through, for one that is kept as a value; gives itself.

        An error holds the frames that it came through, and they all that was worked on: kept in one of them it is a
        cycle, which stays until Python looks for such.
        """
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self


class InvalidInput(PyocoServerError):
    """The input is not valid."""

    err_id = "ERR-PYOCO-0002"
    http_status = 422

    def __init__(self, detail: str | None = None, faults: Sequence[Fault] = ()) -> None:
        if detail is None and faults:
            detail = "; ".join(str(fault) for fault in faults)
        super().__init__(detail)
        self.faults = tuple(faults)


class WorkflowInvalid(InvalidInput):
    """The workflow file is not valid."""


class InvalidListQuery(InvalidInput):
    """The query of this list is not valid."""

    err_id = "ERR-PYOCO-0017"


class InvalidWorkersRequest(InvalidInput):
    """The request about workers is not valid."""

    err_id = "ERR-PYOCO-0019"


class IdempotencyKeyReused(InvalidInput):
    """The idempotency key was sent with another request before."""

    def __init__(self) -> None:
        message = "stands for another request: send the same one again, or take another key"
        super().__init__(faults=[Fault("header.Idempotency-Key", message)])


class WheelInvalid(InvalidInput):
    """The wheel is not valid."""


class TooLarge(PyocoServerError):
    """The request is larger than this gateway accepts."""

    err_id = "ERR-PYOCO-0002"
    http_status = 413


class WorkflowTooLarge(TooLarge):
    """The workflow file is larger than this gateway accepts."""

    err_id = "ERR-PYOCO-0016"


class SnapshotTooLarge(TooLarge):
    """The run's snapshot is larger than the store accepts."""

    err_id = "ERR-PYOCO-0010"


class ForeignOrigin(PyocoServerError):
    """The form was not sent by a page of this dashboard."""

    http_status = 403

    def __init__(self) -> None:
        super().__init__(
            "The form did not come from a page of this dashboard, so it was not carried out. Open the page at the "
            "gateway's own address and send it again; a proxy before the gateway has to pass on the Host header."
        )


class NotFound(PyocoServerError):
    """There is no such thing."""

    http_status = 404
    #: What there is none of.
    what: ClassVar[str]

    def __init__(self, name: object) -> None:
        super().__init__(f"There is no {self.what} {name}.")


class RunNotFound(NotFound):
    """There is no such run."""

    err_id = "ERR-PYOCO-0005"
    what = "run"


class WheelNotFound(NotFound):
    """There is no such wheel."""

    err_id = "ERR-PYOCO-0023"
    what = "wheel"


class ArtifactNotFound(NotFound):
    """There is no such artifact, or it is not kept any more."""

    err_id = "ERR-PYOCO-0029"
    what = "artifact"

    def __init__(self, run_id: str, name: str, attempt: int | None = None) -> None:
        of_attempt = "" if attempt is None else f" from attempt {attempt}"
        PyocoServerError.__init__(
            self,
            f"Run {run_id} has no artifact {name!r}{of_attempt}, or it is not kept any more: they go by their age and "
            "when there are too many (PYOCO_ARTIFACTS_MAX_AGE_SEC, PYOCO_ARTIFACTS_MAX_BYTES).",
        )


class WheelConflict(PyocoServerError):
    """The package has this version already, or a newer one."""

    err_id = "ERR-PYOCO-0022"
    http_status = 409


class WheelSyncFailed(PyocoServerError):
    """A wheel cannot be installed."""

    err_id = "ERR-PYOCO-0024"
    retryable = True


class DeadLetterNotFound(NotFound):
    """There is no such dead letter."""

    err_id = "ERR-PYOCO-0025"
    what = "dead letter"


class CannotRunAgain(PyocoServerError):
    """A run cannot be submitted again from what is kept of it."""

    err_id = "ERR-PYOCO-0026"
    http_status = 409


class ApiKeyMissing(PyocoServerError):
    """An API key is needed."""

    err_id = "ERR-PYOCO-0014"
    http_status = 401

    def __init__(self, header: str) -> None:
        super().__init__(f"Send an API key in the header {header}.")
        self.header = header


class ApiKeyInvalid(PyocoServerError):
    """The API key is not accepted."""

    err_id = "ERR-PYOCO-0015"
    http_status = 403

    def __init__(self, detail: str = "The API key is wrong or revoked, or has expired: ask for another one.") -> None:
        super().__init__(detail)


class ApiKeyReadOnly(ApiKeyInvalid):
    """The API key may only read."""

    def __init__(self) -> None:
        super().__init__("This API key may only read (GET and HEAD): use one that was made without --read-only.")


class WorkerNotFound(NotFound):
    """There is no such worker."""

    err_id = "ERR-PYOCO-0020"
    what = "worker"


class CannotDrain(PyocoServerError):
    """A worker cannot be asked to drain."""

    err_id = "ERR-PYOCO-0027"
    http_status = 409


class ThreadDied(PyocoServerError):
    """A gateway or worker has lost one of its threads."""

    http_status = 503

    def __init__(self, name: str) -> None:
        super().__init__(f"The thread {name} has died, as the log says: end this and start another one.")


class WorkerClosed(PyocoServerError):
    """The worker was closed."""


class InvalidJob(PyocoServerError):
    """A queued job cannot be read."""

    err_id = "ERR-PYOCO-0012"


class FlowNotFound(PyocoServerError):
    """The worker cannot resolve the flow."""

    err_id = "ERR-PYOCO-0006"


class NotAllowed(FlowNotFound):
    """This worker may not execute a task of the flow."""


class Unavailable(PyocoServerError):
    """The service cannot answer at the moment."""

    err_id = "ERR-PYOCO-0003"
    http_status = 503
    retryable = True
    #: Seconds after which a client should ask again (``Retry-After``).
    retry_after_sec: ClassVar[int] = 2


class BusUnavailable(Unavailable):
    """NATS does not answer."""

    #: The sequences of the writes of the same call that were confirmed before this error.
    completed: tuple[int, ...] = ()


class BusTimeout(BusUnavailable):
    """NATS did not answer in time; what was asked may have been done."""


class SignInRefused(BusUnavailable):
    """NATS is there and does not let this process in."""


class BusDenied(BusUnavailable):
    """NATS does not permit this to the user that this process has signed in as."""


class SubmissionUncertain(BusUnavailable):
    """The run may have been accepted; ask for it by its id before you submit it again.

    A question that comes after a write may pass it by in nats-server, so that the run is not there yet.
    """

    def __init__(self, run_id: str, cause: str) -> None:
        super().__init__(
            f"{cause} Run {run_id} may have been accepted: ask for it before you submit again. "
            "Where it is not found, ask once more some seconds after NATS is back."
        )
        self.run_id = run_id


class ReadModelLoading(Unavailable):
    """The list of runs is still being loaded."""

    retry_after_sec = 1


class TooManyWatches(Unavailable):
    """Every place for a watch is taken."""

    retry_after_sec = 5


class KeysUnknown(Unavailable):
    """API keys cannot be checked at the moment."""

    retry_after_sec = 1

    def __init__(self) -> None:
        super().__init__("API keys cannot be checked: they are being loaded, or NATS is away. Ask again.")


class TooManyKeyChecks(Unavailable):
    """Too many API keys are being checked at the moment."""

    retry_after_sec = 1

    def __init__(self) -> None:
        super().__init__("Too many other API keys are being checked at the moment. Ask again.")


class TooMuchInWork(Unavailable):
    """Too much that is large is being read or answered at the moment."""

    def __init__(self) -> None:
        super().__init__(
            "Other large requests and answers are in work at the moment. Ask again, or for less at a time."
        )


class BusError(PyocoServerError):
    """NATS refused a request.

    :param err_code: the error number of the JetStream API; 0 where there is none.
    """

    err_id = "ERR-PYOCO-0003"
    http_status = 503

    def __init__(self, detail: str | None = None, *, err_code: int = 0) -> None:
        super().__init__(detail)
        self.err_code = err_code
        self.completed: tuple[int, ...] = ()


class RevisionConflict(BusError):
    """Another writer changed the key first."""


class KeyMissing(BusError):
    """There is no such key."""


class ResourceMissing(BusError):
    """There is no such stream, bucket or consumer."""


#: Answers that say "not now": too many requests, a restart behind a proxy, NATS away, a gateway that is slow.
PASSING_STATUS = frozenset({429, 502, 503, 504})


class GatewayUnreachable(PyocoServerError):
    """The gateway cannot be reached."""

    err_id = "ERR-PYOCO-HTTP"
    retryable = True


class GatewayRefused(PyocoServerError):
    """The gateway answered with an error.

    :param status: the HTTP status.
    :param method: the request's method.
    :param path: the request's path.
    :param problem: the problem document (RFC 9457); empty where the answer was none.
    """

    err_id = "ERR-PYOCO-HTTP"

    def __init__(self, status: int, method: str, path: str, detail: str, problem: dict[str, Any] | None = None) -> None:
        super().__init__(f"HTTP {status} {method} {path}: {detail}")
        self.status = status
        self.retryable = status in PASSING_STATUS
        self.problem = problem or {}


class RunsRefused(PyocoServerError):
    """The gateway refused some of the runs."""

    err_id = "ERR-PYOCO-HTTP"


class CancelNotFinished(PyocoServerError, TimeoutError):
    """The cancelled run has not ended in time."""

    err_id = "ERR-PYOCO-CANCEL"


class RunNotCompleted(PyocoServerError):
    """The run has not completed."""

    err_id = "ERR-PYOCO-RUN"


class InvalidCommand(PyocoServerError):
    """The command cannot be carried out as it was given."""

    err_id = "ERR-PYOCO-0018"


class InvalidSetting(InvalidCommand):
    """A setting is not valid."""
