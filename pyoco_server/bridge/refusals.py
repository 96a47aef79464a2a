"""What a server of NATS refuses: to let somebody in, and what it permits nobody or not this user.

Source: nats-server, ``-ERR`` of its protocol; RFC 8446, section 6 (TLS alerts).
"""

from __future__ import annotations

import re
import ssl

import nats
import nats.errors

#: What the reasons for which a server lets nobody in; it writes some as they come, some in small.
_NOT_LET_IN = re.compile(r"authorization violation|authentication (expired|revoked)|account .* expired", re.I)
_DENIED = re.compile(r"permissions violation for (publish|subscription) to \"([^\"]+)\"", re.I)
_ASK = "Set PYOCO_NATS_USER and PYOCO_NATS_PASSWORD, PYOCO_NATS_TOKEN or PYOCO_NATS_CREDS to what this server knows."


class _NoTls(nats.errors.Error):
    """The server offers no TLS, and nothing is told to it. Correct its address, or take PYOCO_NATS_TLS_… away."""

    def __str__(self) -> str:
        return str(self.__doc__)


class Client(nats.NATS):
    """A client that tells a server without TLS nothing where it has to be TLS: nats-py would show it the password.

    :param wants_tls: whether it has to be.
    """

    def __init__(self, *, wants_tls: bool) -> None:
        super().__init__()
        self._wants_tls = wants_tls

    def _connect_command(self) -> bytes:
        if self._wants_tls and not self._server_info.get("tls_required"):
            raise _NoTls
        self._tell_of_tls()
        command: bytes = super()._connect_command()
        return command

    def _tell_of_tls(self) -> None:
        """Have asyncio know of TLS: nats-py puts it under a protocol that does not, and asyncio complains on stderr."""
        writer = getattr(self._transport, "_io_writer", None)
        protocol = None if writer is None else writer.transport.get_protocol()
        # It may have been lost again by now.
        if protocol is not None and self._server_info.get("tls_required"):
            protocol._over_ssl = True


def refusal(exc: Exception) -> str | None:
    """Say why a server and this process do not come together, and what to do; ``None`` where it is something else."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({exc.verify_message}). Name who vouches for it with PYOCO_NATS_TLS_CA, "
            "and the server as its certificate does."
        )
    if isinstance(exc, ssl.SSLError):
        return f"TLS failed ({exc.reason or exc}). It may ask for PYOCO_NATS_TLS_CERT and PYOCO_NATS_TLS_KEY."
    if isinstance(exc, (_NoTls, nats.errors.InvalidUserCredentialsError)):
        return str(exc)
    found = _NOT_LET_IN.search(str(exc))
    return f"{found[0].capitalize()}. {_ASK}" if found else None


def denied_subject(exc: Exception) -> tuple[str, str] | None:
    """Give what a server does not permit, ``publish`` or ``subscription``, and the subject in small letters."""
    found = _DENIED.search(str(exc))
    return (found[1].lower(), found[2].lower()) if found else None
