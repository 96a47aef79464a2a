"""Handing back a job that nobody here has begun: a delivery that nobody has used must fail no run.

Source: design, section 5.
"""

from __future__ import annotations

from pyoco_server.bridge.messages import Delivery
from pyoco_server.operations.claim import Claims
from pyoco_server.stores.queue import Queue


def hand_back_unused(queue: Queue, claims: Claims, delivery: Delivery, delay_sec: float = 0.0) -> None:
    """Have a job delivered again, be it delivered for the last time: then it is queued anew.

    Not where somebody executes the run, who would be left without a job to be taken over by; nor where the run goes on
    with another job. Gateways take such a job out of the queue when its time has come.

    :param delay_sec: how long it stays away; one that is queued anew does not.
    :raises BusUnavailable: not confirmed; the end of the lease hands it back where it may be delivered again.
    """
    if not queue.is_last(delivery):
        queue.deliveries.nak(delivery, delay_sec)
    elif claims.is_wanted(delivery):
        queue.queue_anew(delivery)
