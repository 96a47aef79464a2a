"""One runner process, seen from the worker: its pipes, its life, its end.

Source: design, section 6.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import selectors
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator

from pyoco_server.contract.runner_protocol import (
    Begin,
    BootFailed,
    Ended,
    Message,
    Ready,
    changed_at_ns,
    decode,
    encode,
)
from pyoco_server.service import Deadline
from pyoco_server.worker.printed import Printed, PrintedReader
from pyoco_server.worker.process_group import ProcessGroup
from pyoco_server.worker.runner_link import ChildBootFailed, ChildDied, Died
from pyoco_server.worker.runner_process import Ends, RunnerProcess, in_words
from pyoco_server.worker.wheel_set import WheelSet

_READ_BYTES = 65_536
#: Reads of one pipe in a row at most; the largest pipe that Linux gives without privileges is 1 MiB.
_READS_IN_A_ROW = 16
#: How long a runner that was told to end by the end of its stdin may take.
_LEAVE_SEC = 2.0
#: How much of what a runner printed while it booted goes into the error when it cannot boot.
_SHOWN_CHARS = 2_000


class Child:
    """A runner process; made by the nursery, used by one slot at a time. See :class:`RunnerLink` for its calls."""

    def __init__(
        self,
        start: Callable[[str, Ends], RunnerProcess],
        wheels: WheelSet,
        group_ended: Callable[[ProcessGroup], None],
    ) -> None:
        """Start the process.

        :param start: does so, with the token of its marks (``contract/output_marks.py``).
        :param wheels: what it can import beside the worker's own environment.
        :param group_ended: called with its process group when that has been killed.
        :raises OSError: there are no processes or descriptors left; nothing of it stays behind.
        """
        output_token = secrets.token_hex(8)
        # Kept for as long as this object, so that nobody removes them from under the process.
        self.wheels = wheels
        with contextlib.ExitStack() as held, contextlib.ExitStack() as lent:
            self._selector = held.enter_context(selectors.DefaultSelector())
            # Sockets, no pipe: who wakes may come when they are closed, and a number could be another file's by then.
            self._woken, self._waker = map(held.enter_context, socket.socketpair())
            stdin, self._stdin = _pipe(lent, held)
            (stdout, stdout_end), (stderr, stderr_end), (events, events_end) = (_pipe(held, lent) for _ in range(3))
            ends = Ends(stdin.fileno(), stdout_end.fileno(), stderr_end.fileno(), events_end.fileno())
            self._process = start(output_token, ends)
            self.group = ProcessGroup(self._process.pid, self._process.session)
            self._held = held.pop_all()
        self._stdin_fd, self._events_fd = self._stdin.fileno(), events.fileno()
        self._printed = {
            stdout.fileno(): PrintedReader("stdout", output_token),
            stderr.fileno(): PrintedReader("stderr", output_token),
        }
        for fd in (self._events_fd, self._woken.fileno(), *self._printed):
            self._selector.register(fd, selectors.EVENT_READ)
        for fd in (self._stdin_fd, self._events_fd, self._woken.fileno(), self._waker.fileno(), *self._printed):
            os.set_blocking(fd, False)
        self._group_ended = group_ended
        self._unsent = b""
        self._line = bytearray()
        self._early: list[Message | Printed | Died] = []
        self._is_ready = False
        self._is_reaped = False
        self._is_closed = False
        self._death: Died | None = None
        self.runs_done = 0
        self._sources: dict[str, int] = {}

    @property
    def is_outdated(self) -> bool:
        return any(changed_at_ns(file) != at_ns for file, at_ns in self._sources.items())

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self, deadline: Deadline, must_leave: Callable[[], bool] = lambda: False) -> None:
        early: list[Message | Printed | Died] = []
        if self._is_ready:
            return
        while not deadline.has_passed and not must_leave():
            messages = self.receive(min(0.2, deadline.remaining_sec))
            early.extend(message for message in messages if isinstance(message, Printed))
            for message in messages:
                if isinstance(message, Ready):
                    self._early = early
                    self._is_ready = True
                    return
                if isinstance(message, BootFailed):
                    raise ChildBootFailed(message.error)
                if isinstance(message, Died):
                    text = f"The runner process {message.how} before it was ready. {_text_of(early)}"
                    raise ChildDied(text.strip())
        raise ChildBootFailed(f"The runner process was not ready in time. {_text_of(early)}".strip())

    def send(self, message: Message) -> None:
        """Write a line; :meth:`receive` sends what the pipe cannot take, and notices a runner that is gone."""
        if isinstance(message, Begin):
            for printed in self._printed.values():
                printed.run_begins()
        self._unsent += encode(message)
        self._write()

    def receive(self, timeout_sec: float) -> list[Message | Printed | Died]:
        messages, self._early = self._early, []
        if self._is_closed:
            return messages
        events: list[Message | Died] | None = None
        for key, _ in self._selector.select(0 if messages else timeout_sec):
            fd = int(key.fd)
            if fd == self._events_fd:
                events = list(self._read_events())
            elif fd == self._stdin_fd:
                self._write()
            elif fd == self._woken.fileno():
                self._woken.recv(_READ_BYTES)
            else:
                messages.extend(self._read_printed(fd))
        if events is None:
            # The end of the process does not end its pipe while a process that it has forked holds it open.
            events = list(self._last_events()) if self._process.poll() is not None else []
        if self._death is not None:
            # Again and again: who waited for the end of a run has not looked at what came after it.
            events.append(self._death)
        has_ended = any(isinstance(event, (Ended, Died)) for event in events)
        for fd, printed in self._printed.items():
            if events:
                messages.extend(self._read_printed(fd))
            messages.extend(printed.rest() if has_ended else printed.waiting())
        return messages + events

    def wake(self) -> None:
        # Closed, or woken so often that one more says nothing new.
        with contextlib.suppress(OSError):
            self._waker.send(b"w")

    def leave(self) -> None:
        """End a runner that has no run: politely, then by force, and everything that it started with it."""
        if not self._is_closed:
            self._stop_writing()
            self._stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LEAVE_SEC)
        self.kill()

    def terminate(self) -> None:
        """Ask every process of the runner's group to end; the runner itself does not heed it."""
        if not self._is_reaped:
            with contextlib.suppress(OSError):
                self.group.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the runner and its whole process group at once, and release what it held; works twice."""
        if self._is_closed:
            return
        self._is_closed = True
        self._kill_group()
        self._process.wait()
        for fd, printed in self._printed.items():
            self._early += [*self._read_printed(fd), *printed.rest()]
        self._held.close()

    def _kill_group(self) -> None:
        """Once only: the number of a group that is gone may belong to somebody else by the next time."""
        if not self._is_reaped:
            with contextlib.suppress(OSError):
                self.group.signal(signal.SIGKILL)
            self._group_ended(self.group)
            self._is_reaped = self._process.returncode is not None

    def _write(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._stdin_fd, self._unsent) :]
        except BlockingIOError:
            if self._stdin_fd not in self._selector.get_map():
                self._selector.register(self._stdin_fd, selectors.EVENT_WRITE)
            return
        except BrokenPipeError:
            self._unsent = b""
        self._stop_writing()

    def _stop_writing(self) -> None:
        if self._stdin_fd in self._selector.get_map():
            self._selector.unregister(self._stdin_fd)

    def _read(self, fd: int) -> Iterator[bytes]:
        """Read what a pipe holds; an empty piece is its end."""
        for _ in range(_READS_IN_A_ROW):
            try:
                data = os.read(fd, _READ_BYTES)
            except BlockingIOError:
                return
            yield data
            if not data:
                return

    def _read_printed(self, fd: int) -> Iterator[Printed]:
        if fd not in self._selector.get_map():
            return
        for data in self._read(fd):
            if not data:
                self._selector.unregister(fd)
            yield from self._printed[fd].read(data)

    def _read_events(self) -> Iterator[Message]:
        for data in self._read(self._events_fd):
            if not data:
                self._die()
                return
            *lines, rest = data.split(b"\n")
            for line in lines:
                whole = bytes(self._line) + line
                self._line.clear()
                try:
                    message = decode(whole)
                except (ValueError, RecursionError):
                    # A task that writes to descriptors that are not its own: nothing of what follows can be trusted.
                    self._die("wrote into the pipe of its worker what is not a message")
                    return
                if isinstance(message, (Ready, Ended)):
                    self._sources.update(message.sources)
                yield message
            self._line += rest

    def _last_events(self) -> Iterator[Message]:
        """Read what a process that has ended had still written."""
        if self._death is None:
            yield from self._read_events()
        if self._death is None:
            self._die()

    def _die(self, how: str | None = None) -> None:
        """Note the end of the process, or what makes it of no use any more; ``None`` = say how it ended."""
        self._selector.unregister(self._events_fd)
        if how is None:
            try:
                how = in_words(self._process.wait(_LEAVE_SEC))
            except subprocess.TimeoutExpired:
                how = "closed the pipe to its worker and went on"
        # Now, and not when the slot gets round to it: what it started must not go on without it.
        self._kill_group()
        self._death = Died(how)


def _text_of(messages: list[Message | Printed | Died]) -> str:
    return "".join(message.text for message in messages if isinstance(message, Printed))[-_SHOWN_CHARS:]


def _pipe(reading: contextlib.ExitStack, writing: contextlib.ExitStack) -> tuple[io.FileIO, io.FileIO]:
    """Make a pipe, and give its two ends, which are closed with those who hold them."""
    reader, writer = os.pipe()
    return reading.enter_context(io.FileIO(reader, "rb")), writing.enter_context(io.FileIO(writer, "wb"))
