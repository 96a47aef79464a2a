"""What a snapshot says of a run that was handed out over HTTP.

Source: contract, section 3, "pyoco's own client and worker".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PollLease:
    """What any gateway needs to look after such a run; these fields stand in the snapshot as long as it is held.

    :param lease_until: so long the run belongs to its worker without a word from it, unix seconds by NATS' clock.
    :param lease_reply: where the delivery of its job is kept in progress, ended or handed back.
    :param timeout_at: when the attempt has taken too long, unix seconds by NATS' clock; ``None`` = never.
    """

    lease_until: float
    lease_reply: str
    timeout_at: float | None


#: The same fields of a run that nobody holds, or a worker that looks after it itself.
NO_LEASE: dict[str, Any] = dict.fromkeys(PollLease.__dataclass_fields__)
