"""What one attempt of a run prints, line by line, until NATS has it.

Source: design, section 6, "Output".
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from pyoco_server.config import Config
from pyoco_server.contract.log_entries import LAST_CHARS, last_lines, split_lines
from pyoco_server.stores.logs import SEQS_PER_ATTEMPT, LogStore
from pyoco_server.worker.printed import Printed

#: What is kept with each line takes about as much room.
_BYTES_PER_LINE = 100
#: What is kept of the end of a task's output that was too long.
_END_CHARS = 16_384
#: What is sent at a time.
_BATCH_ENTRIES = 2_000


@dataclass
class _Share:
    """What a task has printed.

    :param kept_bytes: counted towards its limit.
    :param left_out_bytes: printed after that.
    :param end: the end of what was left out.
    """

    kept_bytes: int = 0
    left_out_bytes: int = 0
    end: str = ""
    stream: str = "stdout"


class RunLog:
    """Filled by the run's slot, which never waits here, and emptied by whoever calls :meth:`send`.

    It is in memory until NATS has confirmed it, and bounded by the limit of a run's output.
    """

    def __init__(self, store: LogStore, config: Config, run_id: str, attempt: int) -> None:
        self.run_id = run_id
        self._store = store
        self._attempt = attempt
        self._task_limit_bytes = config.logs_task_max_bytes
        self._run_limit_bytes = config.logs_run_max_bytes
        self._shares: dict[str | None, _Share] = {}
        self._kept_bytes = 0
        self._last = ""
        self._next_seq = (attempt - 1) * SEQS_PER_ATTEMPT
        self._lock = threading.Lock()
        self._unsent: list[dict[str, Any]] = []
        #: Held while something is being sent, so that its order stays.
        self._sending = threading.Lock()
        #: What was sent and not confirmed; it must be sent again as it is, to be recognised.
        self._batch: list[dict[str, Any]] = []

    @property
    def last_lines(self) -> str | None:
        """The end of all that was printed, kept or not; ``None`` where nothing was."""
        return last_lines(self._last)

    def take(self, printed: Printed) -> list[str]:
        """Take what was printed; give the lines of it that are kept."""
        self._last = (self._last + printed.text)[-LAST_CHARS:]
        share = self._shares.setdefault(printed.task, _Share())
        kept: list[str] = []
        begin, text = 0, printed.text
        while begin < len(text) and not share.left_out_bytes:
            end = text.find("\n", begin) + 1 or len(text)
            line = _as_shown(text[begin:end])
            size = len(line.encode()) + _BYTES_PER_LINE
            limit = self._limit_met(share, size)
            if limit is not None:
                kept.append(f"[{limit} are full: of what is printed from here on only the end is kept]\n")
                break
            share.kept_bytes += size
            self._kept_bytes += size
            kept.append(line)
            begin = end
        if begin < len(text):
            share.left_out_bytes += len(text[begin:].encode())
            share.end = (share.end + text[begin:])[-_END_CHARS:]
            share.stream = printed.stream
        self._append(printed.task, printed.stream, kept)
        return kept

    def close(self) -> None:
        """Add the ends of what was too long; nothing is taken any more."""
        for task, share in self._shares.items():
            if share.left_out_bytes:
                end = share.end
                if share.left_out_bytes > len(end.encode()):
                    # From the beginning of a line, where there is one.
                    end = end[end.find("\n", 0, -1) + 1 :]
                lines = [_as_shown(line) for line in split_lines(end)]
                if missing_bytes := share.left_out_bytes - len(end.encode()):
                    lines.insert(0, f"[{missing_bytes} bytes were left out here]\n")
                self._append(task, share.stream, lines)
        self._shares.clear()

    def send(self, *, budget_sec: float) -> None:
        """Store what was taken; costs nothing where nothing was.

        :param budget_sec: seconds for retries of each batch.
        :raises BusError: it was refused.
        :raises BusUnavailable: it was not confirmed; it is kept for the next call.
        """
        with self._sending:
            while self._batch or self._unsent:
                if not self._batch:
                    with self._lock:
                        self._batch, self._unsent = self._unsent[:_BATCH_ENTRIES], self._unsent[_BATCH_ENTRIES:]
                batch_id = f"{self.run_id}.{self._batch[0]['seq']}"
                self._store.append(self.run_id, self._attempt, self._batch, batch_id=batch_id, budget_sec=budget_sec)
                self._batch = []

    def _limit_met(self, share: _Share, size: int) -> str | None:
        """Say in words which limit leaves no room for so many bytes more."""
        if share.kept_bytes + size > self._task_limit_bytes:
            return f"the {self._task_limit_bytes} bytes of a task (PYOCO_LOGS_TASK_MAX_BYTES)"
        if self._kept_bytes + size > self._run_limit_bytes:
            return f"the {self._run_limit_bytes} bytes of a run (PYOCO_LOGS_RUN_MAX_BYTES)"
        return None

    def _append(self, task: str | None, stream: str, lines: list[str]) -> None:
        if not lines:
            return
        now = time.time()
        with self._lock:
            for line in lines:
                entry = {"seq": self._next_seq, "task": task, "stream": stream, "text": line, "timestamp": now}
                self._unsent.append(entry)
                self._next_seq += 1


def _as_shown(line: str) -> str:
    """Give a line as a terminal leaves it: of what a progress bar writes over itself the last state."""
    body = line.rstrip("\r\n")
    if "\r" not in body:
        return line
    return body.rsplit("\r", 1)[1] + ("\n" if line.endswith("\n") else "")
