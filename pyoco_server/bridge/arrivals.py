"""What comes over the connection, handed on at once.

nats-py puts each message into a queue and wakes a task that takes it out again; its requests wake one more for each
answer. Under load these are half of what a request costs. So what is put into the queue of a subscription is handed on
here instead, on the loop thread, in the order in which it came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import nats
import nats.aio.msg
import nats.errors

from pyoco_server.errors import BusDenied

#: What to do about what is not permitted.
_PERMIT = "Give its role what it needs: pyoco-nats permissions."
#: Status of an answer that nobody but the server gave: there is nobody who would.
_NO_RESPONDERS = "503"


class _HandedOn(asyncio.Queue[nats.aio.msg.Msg]):
    """Stands where nats-py keeps the messages of a subscription until somebody takes them; always empty."""

    def __init__(self, take: Callable[[nats.aio.msg.Msg], None]) -> None:
        super().__init__()
        self._take = take

    def put_nowait(self, item: nats.aio.msg.Msg) -> None:
        self._take(item)


async def subscribe(
    client: nats.NATS, subject: str, take: Callable[[nats.aio.msg.Msg], None], *, group: str = ""
) -> Any:
    """Have ``take`` called with each message; it must neither block nor raise.

    :param group: of the members of a queue group, each message comes to one.
    :return: the subscription, to be ended by its ``unsubscribe()`` or ``drain()``.
    """
    subscription = await client.subscribe(subject, group, pending_msgs_limit=-1, pending_bytes_limit=-1)
    # The server has not been told of it yet, so nothing has come.
    subscription._pending_queue = _HandedOn(take)
    return subscription


class Requests:
    """Asks questions, whose answers come to one inbox and are told apart by their subjects."""

    def __init__(self, client: nats.NATS) -> None:
        self._client = client
        self._inbox = ""
        self._count = 0
        #: By the subject of the answer: the subject of the question, and who waits.
        self._open: dict[str, tuple[str, asyncio.Future[nats.aio.msg.Msg]]] = {}

    async def start(self) -> None:
        """Open the inbox, once the connection is made; it outlives its breaks."""
        self._inbox = self._client.new_inbox()
        await subscribe(self._client, f"{self._inbox}.*", self._take)

    async def ask(
        self, subject: str, payload: bytes, headers: dict[str, str] | None, timeout_sec: float
    ) -> nats.aio.msg.Msg:
        """Ask once.

        :raises nats.errors.Error: not sent, not answered in time, or nobody is there to answer.
        """
        self._count += 1
        reply = f"{self._inbox}.{self._count}"
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[nats.aio.msg.Msg] = loop.create_future()
        self._open[reply] = (subject, answer)
        timer = loop.call_later(timeout_sec, _give_up, answer)
        try:
            await self._client.publish(subject, payload, reply=reply, headers=headers)
            message = await answer
        finally:
            timer.cancel()
            del self._open[reply]
        if message.headers is not None and message.headers.get("Status") == _NO_RESPONDERS:
            raise nats.errors.NoRespondersError
        return message

    def _take(self, message: nats.aio.msg.Msg) -> None:
        _, answer = self._open.get(message.subject, ("", None))
        if answer is not None and not answer.done():
            answer.set_result(message)

    def deny(self, kind: str, subject: str) -> None:
        """Take note of what the server does not permit: nobody will answer what is asked under that subject.

        :param kind: ``publish``, or what is of no concern here.
        :param subject: in small letters, as nats-py has it.
        """
        for asked, answer in self._open.values():
            if kind == "publish" and asked.lower() == subject and not answer.done():
                answer.set_exception(BusDenied(f"NATS does not permit this user {asked}. {_PERMIT}"))


def _give_up(answer: asyncio.Future[nats.aio.msg.Msg]) -> None:
    if not answer.done():
        answer.set_exception(nats.errors.TimeoutError())
