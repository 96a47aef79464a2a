"""Word of new jobs, for workers that have nothing to do.

An idle worker joins a queue group on the subjects of the work queue itself: NATS shows each job, as it is
published, to one member of the group besides storing it, whoever published it and in whichever version. What
comes is a hint: the job may not be stored yet, and another worker may be faster. Jobs that were queued before and
are free again (handed back, or their lease is over) are not published anew; who hands one back says so under
:func:`~pyoco_server.contract.names.hint_subject`.

Source: design, section 5.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import nats.aio.msg
import nats.errors

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.translate import translate
from pyoco_server.contract import names

_JOIN_SEC = 5.0


class Hints:
    """A membership in the group of idle workers, which can be ended and taken up again.

    :param subjects: the work subject of each tag.
    :param hear: called with the tag of a job, on the loop thread; must not block. It says whether the hint is of use;
        one that is not is passed on to another member.
    """

    def __init__(self, bus: Bus, subjects: Mapping[str, str], hear: Callable[[str], bool]) -> None:
        self._bus = bus
        self._subjects = subjects
        self._hear = hear
        self._subscriptions: list[Any] = []
        self._unused: list[str] = []

    def join(self) -> None:
        """Become a member; what is published after the next request on this connection is heard of.

        :raises BusUnavailable: the bridge is closed.
        """
        self._bus.call(self._join(), timeout_sec=_JOIN_SEC)

    def leave(self, unused: Sequence[str]) -> None:
        """Cease to be a member, without waiting for it.

        :param unused: tags that were heard of and not asked for; whoever is idle still is told of them.
        """
        self._bus.spawn(self._leave(unused))

    async def _join(self) -> None:
        for tag, subject in self._subjects.items():
            for heard in (subject, names.hint_subject(subject)):
                try:
                    subscription = await self._bus.connection.subscribe(
                        heard, names.IDLE_GROUP, functools.partial(self._take, tag)
                    )
                except nats.errors.Error as exc:
                    raise translate(exc, heard) from exc
                self._subscriptions.append(subscription)

    async def _take(self, tag: str, message: nats.aio.msg.Msg) -> None:
        if not self._hear(tag):
            self._unused.append(tag)

    async def _leave(self, unused: Sequence[str]) -> None:
        """Leave first and pass on then: so a hint never comes back to its sender, and cannot go round for ever."""
        left, self._subscriptions = self._subscriptions, []
        await asyncio.gather(*(self._end(subscription) for subscription in left))
        unused = [*unused, *self._unused]
        self._unused.clear()
        with contextlib.suppress(nats.errors.Error, OSError):
            for tag in unused:
                await self._bus.connection.publish(names.hint_subject(self._subjects[tag]))

    async def _end(self, subscription: Any) -> None:
        try:
            # Not `unsubscribe`: hints that are on their way would be lost.
            await subscription.drain()
        except (nats.errors.Error, OSError):
            # The connection was lost meanwhile. What nats-py still knows of it would be a member again after the
            # reconnect, one that nobody listens to.
            self._bus.connection._remove_sub(subscription._id)
