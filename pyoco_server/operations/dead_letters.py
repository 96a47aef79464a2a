"""Dead letters in the hands of an operator: look, replay, remove.

A letter that is replayed is removed once its new run is accepted: what is still in the list needs somebody. The new run
names the failed one (``replay_of``), and leaves a letter of its own when it fails, too.

Source: contract, section 2, "Dead letters"; issue 4.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pyoco_server.contract import deadletters
from pyoco_server.errors import CannotRunAgain, DeadLetterNotFound, PyocoServerError, RunNotFound, Unavailable
from pyoco_server.operations.again import request_again
from pyoco_server.operations.authenticate import Caller
from pyoco_server.operations.submit import Submission, Submitted
from pyoco_server.service import Deadline
from pyoco_server.stores.deadletters import MAX_LETTER_SEQ, DeadLetterStore, StoredLetter
from pyoco_server.stores.runs import RunStore
from pyoco_server.stores.workflows import WorkflowStore

logger = logging.getLogger(__name__)

#: How many letters a page may look at for those that match: half a second.
_MAX_LOOKED_AT = 2_000
_NUMBER = re.compile("[0-9]{1,19}")
#: For how long a request goes on with letter after letter: clients wait for ten seconds, the published ones for five.
_SLICE_SEC = 2.5


@dataclass(frozen=True)
class LetterFilter:
    """Which letters are meant; ``None`` is any."""

    tag: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Range:
    """Letters that an operation on many has still to deal with, by their numbers; those that come meanwhile are not."""

    first: int
    last: int

    def __str__(self) -> str:
        """Give it as clients see it: opaque."""
        return f"{self.first}-{self.last}"

    @classmethod
    def parse(cls, text: str) -> Range:
        """Read a range.

        :raises ValueError: it is not one of ours.
        """
        first, _, last = text.partition("-")
        return cls(letter_number(first), letter_number(last))


def letter_number(text: str) -> int:
    """Read the number of a letter out of a cursor.

    :raises ValueError: it is none.
    """
    if _NUMBER.fullmatch(text) is None or int(text) > MAX_LETTER_SEQ:
        raise ValueError("is not a cursor of this list; take next_cursor of the answer before as it is")
    return int(text)


@dataclass(frozen=True)
class Replayed:
    """What became of a letter that was to be replayed."""

    seq: int
    outcome: Submitted | PyocoServerError


class DeadLetters:
    """Reads, replays and removes dead letters; those of another tenant do not exist."""

    def __init__(
        self, letters: DeadLetterStore, runs: RunStore, workflows: WorkflowStore, submission: Submission
    ) -> None:
        self._letters = letters
        self._runs = runs
        self._workflows = workflows
        self._submission = submission

    def page(
        self, caller: Caller, wanted: LetterFilter, *, before: int | None, limit: int
    ) -> tuple[list[StoredLetter], int | None]:
        """Give letters, newest first.

        :param before: only letters with smaller numbers.
        :return: up to ``limit`` letters, and the number before which the next page begins; ``None`` on the last. A page
            of few matches among many letters may be short or empty and yet have a next one.
        """
        found: list[StoredLetter] = []
        letters = self._letters.backward(wanted.tag, before)
        for count, stored in enumerate(letters, start=1):
            is_meant = _is_meant(stored, caller, wanted)
            if count > _MAX_LOOKED_AT or (is_meant and len(found) == limit):
                return found, stored.seq + 1
            if is_meant:
                found.append(stored)
        return found, None

    def get(self, caller: Caller, seq: int) -> StoredLetter:
        """Give a letter.

        :raises DeadLetterNotFound: there is none, or it is another tenant's.
        """
        stored = self._letters.get(seq)
        if not caller.sees(stored.letter.tenant_id):
            raise DeadLetterNotFound(seq)
        return stored

    def remove(self, caller: Caller, seq: int) -> None:
        """Remove a letter.

        :raises DeadLetterNotFound: see :meth:`get`.
        """
        self._letters.remove(self.get(caller, seq).seq)

    def discard(self, caller: Caller, seq: int) -> None:
        """Remove a letter, if it is still there."""
        with contextlib.suppress(DeadLetterNotFound):
            self.remove(caller, seq)

    def replay(self, caller: Caller, seq: int) -> Submitted:
        """Submit the run of a letter again as a new run, and remove the letter.

        :return: the new run. Of several that replay a letter at once all get the same one, and all but the first are
            told that it is repeated.
        :raises DeadLetterNotFound: see :meth:`get`; also when it has been replayed.
        :raises CannotRunAgain: says why; the letter stays.
        """
        return self._replay(caller, self.get(caller, seq))

    def count(self, caller: Caller) -> int | None:
        """Count the letters that there are; ``None`` for a tenant, whose own nobody has counted.

        :raises BusUnavailable: no answer.
        """
        return self._letters.count() if caller.tenant_id is None else None

    def replay_some(
        self, caller: Caller, wanted: LetterFilter, there: Range | None
    ) -> tuple[list[Replayed], Range | None]:
        """Replay the letters that match, oldest first, for as long as a request may take.

        :param there: ``None`` for all that there are now.
        :return: what became of each, and the range that is left; ``None`` at the end.
        :raises Unavailable: NATS stopped answering; safe to repeat.
        """
        done: list[Replayed] = []
        some = _Slice(self._letters, caller, wanted, there)
        for stored in some:
            try:
                done.append(Replayed(stored.seq, self._replay(caller, stored)))
            except Unavailable:
                raise
            except PyocoServerError as exc:
                done.append(Replayed(stored.seq, exc.without_frames()))
        return done, some.rest

    def remove_some(self, caller: Caller, wanted: LetterFilter, there: Range | None) -> tuple[int, Range | None]:
        """Remove the letters that match, for as long as a request may take.

        :param there: ``None`` for all that there are now.
        :return: how many were removed, and the range that is left; ``None`` at the end.
        :raises Unavailable: NATS stopped answering; safe to repeat.
        """
        count = 0
        some = _Slice(self._letters, caller, wanted, there)
        for stored in some:
            self._letters.remove(stored.seq)
            count += 1
        return count, some.rest

    def _replay(self, caller: Caller, stored: StoredLetter) -> Submitted:
        seq, run_id = stored.seq, stored.letter.run_id
        if not isinstance(run_id, str) or stored.letter.reason == deadletters.INVALID_JOB:
            raise CannotRunAgain(
                f"Dead letter {seq} is of a job that cannot be read, so nobody knows what to run again: submit what "
                "was meant as a new run, and remove the letter."
            )
        try:
            snapshot = self._runs.get(run_id).snapshot
        except RunNotFound as exc:
            raise CannotRunAgain(f"Run {run_id} of dead letter {seq} is not kept any more: submit it anew.") from exc
        request = replace(request_again(snapshot, self._workflows, caller), replay_of=run_id)
        # No client can send such a key. A gateway that ends before the letter is removed leaves one that gives the
        # same run when it is replayed again.
        submitted = self._submission.submit_once(request, f"replay\n{seq}\n{run_id}")
        self._letters.remove(seq)
        logger.info("replayed dead letter %d of run %s", seq, run_id, extra={"run_id": submitted.run_id})
        return submitted


class _Slice:
    """The letters of a range that match, oldest first, for as long as a request may take."""

    def __init__(self, letters: DeadLetterStore, caller: Caller, wanted: LetterFilter, there: Range | None) -> None:
        self._letters = letters
        self._caller = caller
        self._wanted = wanted
        self._there = there or Range(*letters.ends())
        #: What is left; ``None`` when all have been gone through.
        self.rest: Range | None = None

    def __iter__(self) -> Iterator[StoredLetter]:
        end = Deadline(_SLICE_SEC)
        for stored in self._letters.forward(self._wanted.tag, self._there.first, self._there.last):
            if end.has_passed:
                self.rest = replace(self._there, first=stored.seq)
                return
            if _is_meant(stored, self._caller, self._wanted):
                yield stored


def _is_meant(stored: StoredLetter, caller: Caller, wanted: LetterFilter) -> bool:
    letter = stored.letter
    return caller.sees(letter.tenant_id) and wanted.reason in (None, letter.reason)
