"""Keeping the files that a run saves: from its folder into the object store, a piece at a time.

It is done by the slot's own thread, between its other duties: a large file must keep neither a cancel nor the run's
signs of life waiting, and a run that saves nothing pays nothing.

Source: design, "Artifacts".
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyoco_server.bridge.objects import Upload
from pyoco_server.config import Config
from pyoco_server.contract.artifacts import MAX_FILES, ArtifactMark, name_fault, output_name
from pyoco_server.contract.runner_protocol import Saved
from pyoco_server.errors import BusError, BusUnavailable
from pyoco_server.stores.artifacts import ArtifactStore
from pyoco_server.worker.artifact_folder import ArtifactFolder, NotReadable

#: A piece that NATS does not take at once is left to a later turn: the slot has other duties.
_BUDGET_SEC = 1.0
_PAUSE_SEC = 1.0
#: How often a file is read anew that has changed while it was read.
_READINGS = 3
#: What is shown of a name under which nothing is kept.
_SHOWN_CHARS = 200


@dataclass(frozen=True)
class _Kept:
    """A file that is in the store.

    :param seen: its size and time of change when it was read.
    """

    seen: tuple[int, int]
    size: int
    nuid: str


@dataclass
class _Transfer:
    """A file on its way.

    :ivar is_sent: whether all its pieces are stored, and only its description is not.
    """

    name: str
    file: int
    seen: tuple[int, int]
    upload: Upload
    is_sent: bool = False


class ArtifactKeeper:
    """Keeps the files of one attempt of a run.

    :param folder: where the run saves them.
    :param complain: takes the task and a line for the log of the run, for each file that is not kept.
    """

    def __init__(
        self,
        store: ArtifactStore,
        config: Config,
        run_id: str,
        attempt: int,
        folder: str,
        complain: Callable[[str | None, str], None],
    ) -> None:
        self._store = store
        self._config = config
        self._run_id = run_id
        self._attempt = attempt
        self._folder = ArtifactFolder(folder)
        self._complain = complain
        #: Who has saved each file, as far as tasks told.
        self._saved: dict[str, Saved] = {}
        #: Outputs that lie in no file.
        self._outputs: dict[str, bytes] = {}
        #: What is to be kept, each name once, in order.
        self._queue: dict[str, None] = {}
        self._readings: dict[str, int] = {}
        self._kept: dict[str, _Kept] = {}
        self._refused: set[str] = set()
        #: Saved since they were last read: two changes may bear the same time.
        self._unread: set[str] = set()
        self._has_too_many = False
        self._marks: dict[str, dict[str, ArtifactMark]] = {}
        self._current: _Transfer | None = None
        self._not_before = 0.0
        #: Since when NATS has taken nothing, ``time.monotonic()``; ``None`` = it takes what it is given.
        self.stalled_since: float | None = None

    @property
    def has_work(self) -> bool:
        """Whether there is a file that is neither kept nor refused."""
        return self._current is not None or bool(self._queue)

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`step` would do anything now."""
        return self.has_work and time.monotonic() >= self._not_before

    def note(self, saved: Saved) -> None:
        """Note who has saved a file; it is kept when its task has ended."""
        name = saved.name
        if name not in self._saved and not self._has_place(len(self._saved)):
            return
        self._saved[name] = saved
        self._unread.add(name)
        self._refused.discard(name)
        self._readings.pop(name, None)

    def task_ended(self, task: str) -> None:
        """Keep what a task has saved."""
        for name, saved in self._saved.items():
            if saved.task == task and not self._is_settled(name):
                self._queue[name] = None

    def keep_output(self, task: str, value: Any) -> bool:
        """Keep the output of a task that its record has no room for; says whether that was not done before.

        :param value: as JSON carries it.
        """
        if any(saved.task == task and saved.is_output for saved in self._saved.values()):
            return False
        is_text = isinstance(value, str)
        data = (value if is_text else json.dumps(value)).encode(errors="backslashreplace")
        name = output_name(task, "txt" if is_text else "json")
        # A file of that name may be one that the task itself has saved.
        if name in self._saved or name in self._kept or not self._has_place():
            return False
        self._saved[name] = Saved(task, name, type(value).__name__, is_output=True)
        self._outputs[name] = data
        self._queue[name] = None
        return True

    def run_ended(self) -> None:
        """Keep all else that lies in the folder, and what has changed since it was kept."""
        for name in self._folder.names(self._pass_over):
            if name in self._queue or self._is_settled(name):
                continue
            if name not in self._kept and not self._has_place():
                return
            self._queue[name] = None

    def _pass_over(self, folder: str, why: str) -> None:
        self._complain(None, f"what lies in {_shown(folder) or 'the folder of artifacts'} is not kept: {why}")

    def marked(self, task: str, record: dict[str, Any]) -> dict[str, Any]:
        """Give the record of a task with what has become of its files."""
        marks = self._marks.get(task)
        return {**record, "artifacts": dict(marks)} if marks else record

    def step(self) -> str | None:
        """Do the next little piece of work.

        :return: the task whose marks have changed by it.
        """
        if not self.is_ready:
            return None
        name = next(iter(self._queue))
        try:
            return self._advance(self._current or self._begin(name))
        except BusUnavailable:
            self._not_before = time.monotonic() + _PAUSE_SEC
            self.stalled_since = self.stalled_since or time.monotonic()
            if self._current is not None and not self._current.is_sent:
                # Anew from its beginning: what a piece that was not confirmed has become nobody knows.
                self._leave()
            return None
        except _Changed:
            self._leave()
            return None
        except (NotReadable, BusError, OSError) as exc:
            self._leave()
            # The next file has all the time that it may take.
            self.stalled_since = None
            return self._refuse(name, _why(exc))

    def give_up(self, why: str) -> list[str]:
        """Refuse all that is left; gives the tasks whose marks have changed."""
        self._leave()
        changed = [self._refuse(name, why) for name in list(self._queue)]
        return [task for task in changed if task is not None]

    def close(self) -> None:
        """Let go of the run's files, and of who is told of them; works twice."""
        self._leave()
        # Else the two would hold each other, and with them the runner and its wheels, until Python looks for cycles.
        self._complain = _tell_nobody

    def _is_settled(self, name: str) -> bool:
        """Say whether a file was kept as it is now, or refused."""
        kept = self._kept.get(name)
        if kept is None or name in self._unread:
            return name in self._refused
        try:
            file = self._folder.open(name)
        except NotReadable:
            # It is gone since, and what was kept stays.
            return True
        try:
            return _state(file) == kept.seen
        finally:
            os.close(file)

    def _begin(self, name: str) -> _Transfer:
        """Open a file and see whether it may be kept.

        :raises NotReadable: no, for this reason.
        """
        self._unread.discard(name)
        fault = name_fault(name)
        if fault is not None:
            raise NotReadable(fault)
        file = self._folder.open(name) if name not in self._outputs else _file_of(self._outputs[name])
        upload = self._store.begin(self._run_id, self._attempt, name)
        self._current = _Transfer(name, file, _state(file), upload)
        self._require_room(self._current, self._current.seen[0])
        return self._current

    def _advance(self, transfer: _Transfer) -> str | None:
        """Send the next piece of a file; when all of it is kept, gives its task.

        :raises NotReadable: it cannot be kept.
        :raises _Changed: it has changed while it was read.
        :raises BusError: NATS refuses it.
        :raises BusUnavailable: not confirmed.
        """
        piece = os.read(transfer.file, transfer.upload.piece_bytes)
        # An empty file has one piece, by which it is found.
        if piece or transfer.upload.is_empty:
            self._require_room(transfer, transfer.upload.size + len(piece))
            transfer.upload.add(piece, budget_sec=_BUDGET_SEC)
            self.stalled_since = None
            return None
        if _state(transfer.file) != transfer.seen or transfer.upload.size != transfer.seen[0]:
            readings = self._readings[transfer.name] = self._readings.get(transfer.name, 0) + 1
            if readings >= _READINGS:
                raise NotReadable("it changes while it is read")
            raise _Changed
        return self._publish(transfer)

    def _publish(self, transfer: _Transfer) -> str | None:
        transfer.is_sent = True
        name, saved, content = transfer.name, self._saved.get(transfer.name), transfer.upload.content
        task, type_name = (saved.task, saved.type_name) if saved is not None else (None, None)
        self._store.put(
            self._run_id, self._attempt, name, content, task=task, type_name=type_name, budget_sec=_BUDGET_SEC
        )
        os.close(transfer.file)
        self._current = None
        self.stalled_since = None
        before, self._kept[name] = self._kept.get(name), _Kept(transfer.seen, content.size, content.nuid)
        if before is not None:
            self._store.discard(before.nuid, budget_sec=_BUDGET_SEC)
        return self._settle(name, {"kept": True, "size_bytes": content.size, "sha256": content.digest.hex()})

    def _require_room(self, transfer: _Transfer, size: int) -> None:
        """Refuse a file that is too large, by itself or with those that are kept."""
        most, in_all = self._config.artifact_max_bytes, self._config.run_artifacts_max_bytes
        if size > most:
            raise NotReadable(f"it has {size} bytes, and {most} are the most (PYOCO_ARTIFACT_MAX_BYTES)")
        others = sum(kept.size for name, kept in self._kept.items() if name != transfer.name)
        if others + size > in_all:
            raise NotReadable(
                f"it has {size} bytes, and of the {in_all} of this attempt {others} are taken "
                "(PYOCO_RUN_ARTIFACTS_MAX_BYTES)"
            )

    def _leave(self) -> None:
        """Let go of the file at hand, which stays in the queue."""
        transfer, self._current = self._current, None
        if transfer is None:
            return
        os.close(transfer.file)
        if self.stalled_since is None and not transfer.upload.is_empty:
            self._store.discard(transfer.upload.nuid, budget_sec=_BUDGET_SEC)

    def _has_place(self, count: int | None = None) -> bool:
        """Say whether one more file may be kept; complains once where it may not.

        :param count: of the files that there are; those that are kept or will be when ``None``.
        """
        count = len(self._kept.keys() | self._queue.keys()) if count is None else count
        if count >= MAX_FILES and not self._has_too_many:
            self._has_too_many = True
            self._complain(None, f"more than {MAX_FILES} files were saved; the rest is not kept")
        return count < MAX_FILES

    def _refuse(self, name: str, why: str) -> str | None:
        """Say that a file is not kept, and why; gives its task."""
        self._refused.add(name)
        saved = self._saved.get(name)
        self._complain(saved.task if saved is not None else None, f"artifact {_shown(name)} is not kept: {why}")
        return self._settle(name, {"kept": False, "reason": why})

    def _settle(self, name: str, mark: ArtifactMark) -> str | None:
        """Take a file out of the queue, with what has become of it; gives its task."""
        self._queue.pop(name, None)
        self._outputs.pop(name, None)
        saved = self._saved.get(name)
        if saved is None or saved.task is None:
            return None
        if saved.type_name is not None:
            mark["type"] = saved.type_name
        if saved.is_output:
            mark["is_output"] = True
        self._marks.setdefault(saved.task, {})[name if mark["kept"] else _shown(name)] = mark
        return saved.task


def _why(exc: Exception) -> str:
    return f"it cannot be read: {exc.strerror or exc}" if isinstance(exc, OSError) else str(exc)


def _tell_nobody(task: str | None, text: str) -> None:
    """Nothing: the run is over."""


class _Changed(Exception):
    """A file has changed while it was read."""


def _file_of(data: bytes) -> int:
    """Give a file without a name that holds these bytes."""
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(data)
        file.seek(0)
        return os.dup(file.fileno())


def _state(file: int) -> tuple[int, int]:
    """Give the size of a file and when it was changed."""
    found = os.fstat(file)
    return found.st_size, found.st_mtime_ns


def _shown(name: str) -> str:
    """Give a name as it can be shown: any that a file can have, cut."""
    shown = name.encode(errors="backslashreplace").decode()
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown[:_SHOWN_CHARS])
    return shown if len(name) <= _SHOWN_CHARS else f"{shown}…"
