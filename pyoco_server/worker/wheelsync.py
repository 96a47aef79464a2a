"""Wheel sync: what a worker's runners import is what the registry has for it.

Before each claim one request asks whether the registry has changed, so a run that was submitted after an upload sees
what was uploaded. Runners keep the wheels that they were started with; the slots replace them when the set changes.

Source: contract, section 2, "Worker record"; design, section 10.
"""

from __future__ import annotations

import contextlib
import logging
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from packaging.specifiers import SpecifierSet

from pyoco_server.config import Config
from pyoco_server.contract.workers import WHEELS_SHOWN
from pyoco_server.errors import BusError, Unavailable, WheelSyncFailed
from pyoco_server.service import Deadline, Service
from pyoco_server.stores.wheels import WheelStore
from pyoco_server.wheelfile.check import check_wheel
from pyoco_server.wheelfile.unpack import unpack
from pyoco_server.worker.wheel_choice import Candidate, Choice, choose, missing_requirements
from pyoco_server.worker.wheel_folder import Manifest, Unpacked, WheelFolder
from pyoco_server.worker.wheel_set import NO_WHEELS, Selected, WheelSet

logger = logging.getLogger(__name__)

#: As pip compares it: a Python of somebody's own build calls itself "3.13.0a1+", which is no version.
_PYTHON = ".".join(map(str, sys.version_info[:3]))
#: What the worker's record shows of everything that is wrong.
_MAX_ERROR_CHARS = 4_000
#: A wheel that cannot be installed is fetched again each time: after delays that double, so often at most.
_MAX_DOUBLINGS = 6


class WheelSync(Service):
    """Follows the registry for the slots of one worker.

    :param report: takes what has changed in the ``wheel_sync`` of the worker's record.
    :param changed: called when runners are to import other wheels; must not block.
    """

    def __init__(
        self,
        store: WheelStore,
        config: Config,
        tags: Sequence[str],
        *,
        report: Callable[[dict[str, Any]], None],
        changed: Callable[[], None],
        on_failure: Callable[[Service], None],
    ) -> None:
        super().__init__("pyoco-wheels", on_failure)
        self._store = store
        self._config = config
        self._tags = tags
        self._report = report
        self._changed = changed
        self._folder = WheelFolder(Path(config.wheel_sync_dir))
        self._lock = threading.Lock()
        self._set = WheelSet([]) if config.wheel_sync_enabled else NO_WHEELS
        #: Revision of the registry at the last sync; ``None`` = there was none yet.
        self._revision: int | None = None
        self._retry_at = 0.0
        #: Syncs in a row that have failed for the registry as it is.
        self._failure_count = 0
        self._faults: list[str] = []
        if config.wheel_sync_enabled:
            self._tell(enabled=True, last_result="idle")

    @property
    def current(self) -> WheelSet:
        """The wheels that a new runner gets."""
        return self._set

    def refresh(self) -> WheelSet:
        """Install what is new in the registry, and give the wheels that runs are to see from now on.

        Nothing that goes wrong is raised: for what cannot be installed the version before it is taken.
        """
        if not self._config.wheel_sync_enabled:
            return NO_WHEELS
        with self._lock:
            try:
                revision = self._store.revision()
                if revision != self._revision or (self._faults and time.monotonic() >= self._retry_at):
                    self._sync()
            except (BusError, Unavailable, OSError) as exc:
                self._fail([f"the registry cannot be read: {exc}"], self._config.wheel_sync_interval_sec)
            return self._set

    def run(self) -> None:
        """Look while the worker is idle, too, so that the next run need not wait."""
        while not self.pause(self._config.wheel_sync_interval_sec):
            self.refresh()
            with contextlib.suppress(OSError):
                # What runners have let go of since the last sync.
                self._folder.tidy()
            with self._lock:
                if not self._faults:
                    now = time.time()
                    self._tell(last_attempt_at=now, last_success_at=now)

    def _sync(self) -> None:
        began = time.time()
        listed, revision = self._store.list()
        choice = choose(listed, self._tags)
        selected = [
            item for item in (self._select(candidates, choice) for candidates in choice.packages.values()) if item
        ]
        before, after = self._set.selected, tuple(sorted(selected, key=lambda item: item.name))
        if self.is_stopping:
            return
        if revision != self._revision:
            self._failure_count = 0
        self._set, self._revision = WheelSet(after), revision
        known = {item.key for item in before}
        updated = [item.name for item in after if item.key not in known]
        removed = sorted({item.name for item in before} - {item.name for item in after})
        del before, selected
        self._folder.tidy()
        self._tell(
            last_attempt_at=began,
            **_shown("selected", [item.name for item in after]),
            **_shown("updated", updated),
            **_shown("removed", removed),
            skipped_incompatible_count=len(choice.skipped),
            skipped_incompatible=choice.skipped[:WHEELS_SHOWN],
            installed_wheels=[_installed(item) for item in after][:WHEELS_SHOWN],
            missing_requirements=_missing(after)[:WHEELS_SHOWN],
        )
        if choice.faults:
            doublings = min(self._failure_count, _MAX_DOUBLINGS)
            self._failure_count += 1
            self._fail(choice.faults, self._config.wheel_sync_interval_sec * 2**doublings)
        else:
            self._faults = []
            now = time.time()
            self._tell(last_result="ok", last_error=None, last_success_at=now, last_synced_at=now)
        if updated or removed:
            self._changed()
            logger.info("wheels: installed %s; removed %s", ", ".join(updated) or "none", ", ".join(removed) or "none")

    def _select(self, candidates: list[Candidate], choice: Choice) -> Selected | None:
        """Install the newest wheel of a package that fits and can be installed."""
        in_use = {item.key: item.unpacked for item in self._set.selected}
        for candidate in candidates:
            info = candidate.stored.info
            try:
                unpacked = in_use.get((info.sha256_hex, candidate.name.file_name)) or self._install(candidate)
                python = unpacked.manifest.requires_python
                fits = SpecifierSet(python).contains(_PYTHON)
            except Exception as exc:
                # Whatever an archive that nobody checked makes of the libraries: a worker must not end of it.
                logger.debug("a wheel cannot be installed", exc_info=True)
                choice.faults.append(f"{candidate.name.file_name} cannot be installed: {exc}")
                continue
            if fits:
                return Selected(unpacked, candidate.name, info.nuid)
            reason = f"it needs Python {python}, and this is {platform.python_version()}"
            choice.skipped.append(candidate.skipped(reason))
        return None

    def _install(self, candidate: Candidate) -> Unpacked:
        """Give the unpacked wheel, fetched where it is not on this machine yet.

        :raises WheelInvalid: the check refuses it.
        :raises WheelSyncFailed: it has no hash, it took too long, or the worker stops.
        """
        info, deadline = candidate.stored.info, Deadline(self._config.wheel_install_timeout_sec)

        def pulse() -> None:
            if deadline.has_passed:
                raise WheelSyncFailed(f"it took longer than {self._config.wheel_install_timeout_sec:g} s")
            if self.is_stopping:
                raise WheelSyncFailed("the worker stops")

        def fill(folder: Path) -> Manifest:
            with tempfile.TemporaryFile() as file:
                self._fetch(candidate, file, pulse)
                wheel = check_wheel(file, candidate.name, pulse)
                sizes = unpack(file, wheel, folder, pulse)
            python, requires = str(wheel.requires_python), list(wheel.requires)
            return Manifest(candidate.name.file_name, python, requires, time.time(), sizes)

        if not info.sha256_hex:
            raise WheelSyncFailed("its description in the registry says no hash")
        found = self._folder.find(info.sha256_hex)
        # Bytes that were stored under another name are judged by the name that they have now.
        if found is not None and found.manifest.wheel_name == candidate.name.file_name:
            return found
        del found
        return self._folder.add(info.sha256_hex, fill)

    def _fetch(self, candidate: Candidate, file: IO[bytes], pulse: Callable[[], None]) -> None:
        for chunk in self._store.chunks(candidate.stored):
            file.write(chunk)
            pulse()
        file.flush()

    def _fail(self, faults: list[str], delay_sec: float) -> None:
        """Note what went wrong; it is tried again after a while."""
        self._retry_at = time.monotonic() + delay_sec
        text = " ".join(faults)[:_MAX_ERROR_CHARS]
        if faults != self._faults and not self.is_stopping:
            logger.warning("wheel sync: %s", text, extra={"err_id": WheelSyncFailed.err_id})
        self._faults = faults
        self._tell(last_result="error", last_attempt_at=time.time(), last_error=text)

    def _tell(self, **status: Any) -> None:
        self._report(status)


def _shown(word: str, names: list[str]) -> dict[str, Any]:
    return {f"{word}_count": len(names), f"{word}_wheels": names[:WHEELS_SHOWN]}


def _installed(item: Selected) -> dict[str, Any]:
    return {
        "wheel_name": item.name,
        "package_name": item.wheel.package,
        "package_version": str(item.wheel.version),
        "installed_at": item.unpacked.manifest.installed_at,
        "nuid": item.nuid,
    }


def _missing(selected: Sequence[Selected]) -> list[dict[str, str]]:
    versions = {item.wheel.package: str(item.wheel.version) for item in selected}
    return [
        {"wheel_name": item.name, "requirement": requirement}
        for item in selected
        for requirement in missing_requirements(item.unpacked.manifest.requires, versions)
    ]
