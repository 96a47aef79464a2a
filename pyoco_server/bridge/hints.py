"""Word of new jobs, for workers that have nothing to do.

A worker that has room joins a queue group on the subjects of the work queue itself: NATS shows each job, as it is
published, to one member of the group besides storing it, whoever published it and in whichever version. What
comes is a hint: the job may not be stored yet, and another worker may be faster. Jobs that were queued before and
are free again (handed back, or their lease is over) are not published anew; who hands one back says so under
:func:`~pyoco_server.contract.names.hint_subject`.

Each tag has a group of its own. A member that has no room any more stays one until it hears of a job: only then it
leaves the group of that tag, and passes the hint on. So whoever has room between two jobs need not join again, and
what a run costs does not grow with the number of tags.

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

from pyoco_server.bridge import arrivals
from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.translate import translate
from pyoco_server.contract import names

_JOIN_SEC = 5.0


class Hints:
    """Memberships in the groups of idle workers, one for each tag, which can be ended and taken up again.

    :param subjects: the work subject of each tag.
    :param hear: called with the tag of a job, on the loop thread; must not block. It says whether the hint is of use;
        with one that is not, the membership ends, and another member is told.
    """

    def __init__(self, bus: Bus, subjects: Mapping[str, str], hear: Callable[[str], bool]) -> None:
        self._bus = bus
        self._subjects = subjects
        self._hear = hear
        #: By tag, of the groups that this worker belongs to. Used on the loop thread alone.
        self._subscriptions: dict[str, list[Any]] = {}
        #: Of the groups that are being left, until the server has confirmed it, with the task that waits for that.
        self._leaving: dict[Any, asyncio.Task[None]] = {}
        bus.on_reconnect(self._leave_anew)

    def join(self, tags: Sequence[str]) -> None:
        """Be a member for these tags; what is published after the next request on this connection is heard of.

        :raises BusUnavailable: the bridge is closed.
        """
        self._bus.call(self._join(tags), timeout_sec=_JOIN_SEC)

    def pass_on(self, unused: Sequence[str]) -> None:
        """Tell others of jobs that were heard of and not asked for, without waiting for it.

        Ends the memberships for these tags.

        :param unused: a tag as often as it was heard of.
        """
        self._bus.spawn(self._pass_on(unused))

    def leave(self) -> None:
        """Cease to be a member for any tag, without waiting for it."""
        self._bus.spawn(self._leave())

    async def _join(self, tags: Sequence[str]) -> None:
        for tag in tags:
            if tag in self._subscriptions:
                continue
            subscriptions = self._subscriptions[tag] = []
            subject = self._subjects[tag]
            for heard in (subject, names.hint_subject(subject)):
                take = functools.partial(self._take, tag)
                try:
                    subscription = await arrivals.subscribe(self._bus.connection, heard, take, group=names.IDLE_GROUP)
                except nats.errors.Error as exc:
                    raise translate(exc, heard) from exc
                subscriptions.append(subscription)

    def _take(self, tag: str, message: nats.aio.msg.Msg) -> None:
        if not self._hear(tag):
            self._begin_to_leave([tag])
            self._bus.spawn(self._tell_others([tag]))

    async def _pass_on(self, unused: Sequence[str]) -> None:
        self._begin_to_leave(unused)
        await self._tell_others(unused)

    async def _leave(self) -> None:
        self._begin_to_leave(list(self._subscriptions))

    def _begin_to_leave(self, tags: Sequence[str]) -> None:
        """Be out of these groups at this moment, so that whoever joins from now on joins anew."""
        for tag in tags:
            for subscription in self._subscriptions.pop(tag, []):
                self._leaving[subscription] = asyncio.create_task(self._end(subscription))

    async def _tell_others(self, unused: Sequence[str]) -> None:
        """Leave first and pass on then: so a hint never comes back to its sender, and cannot go round for ever.

        Others than this hint may have had the group left: what is being left is waited for, whoever began it.
        """
        await asyncio.gather(*self._leaving.values())
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
        finally:
            self._leaving.pop(subscription, None)

    def _leave_anew(self) -> None:
        """After a reconnect: nats-py has subscribed again to all that it knew, also to what was being left."""
        for subscription in self._leaving:
            self._bus.connection._remove_sub(subscription._id)
            self._bus.spawn(self._bus.connection._send_unsubscribe(subscription._id))
