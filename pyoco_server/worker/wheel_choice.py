"""Which wheels of the registry are for a worker: by its tags, its interpreter and their versions.

Source: contract, section 2, "Worker record"; design, section 10.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import sys_tags
from packaging.version import InvalidVersion

from pyoco_server.contract.wheels import WheelName, normalised, serves
from pyoco_server.errors import InvalidInput
from pyoco_server.stores.wheels import StoredWheel

#: What the worker's record shows of a text that a wheel brings.
_MAX_TEXT_CHARS = 300


@dataclass(frozen=True)
class Candidate:
    """A wheel for this worker."""

    name: WheelName
    stored: StoredWheel

    def skipped(self, reason: str) -> dict[str, Any]:
        """Give the record of a wheel that this interpreter cannot use."""
        return {
            "wheel_name": self.name.file_name,
            "package_name": self.name.package,
            "package_version": str(self.name.version),
            "reason": reason[:_MAX_TEXT_CHARS],
        }


@dataclass
class Choice:
    """What the registry has for a worker.

    :ivar packages: package -> its wheels, the newest version first.
    :ivar skipped: records of those that the interpreter cannot use.
    :ivar faults: what is wrong with objects that are no wheels.
    """

    packages: dict[str, list[Candidate]] = field(default_factory=dict)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def choose(listed: Sequence[StoredWheel], worker_tags: Sequence[str]) -> Choice:
    """Find the wheels for this interpreter and these tags."""
    ours = frozenset(sys_tags())
    choice = Choice()
    for stored in listed:
        if not serves(stored.tags, worker_tags):
            continue
        try:
            candidate = Candidate(WheelName.parse(stored.info.name), stored)
        except InvalidInput:
            choice.faults.append(f"{stored.info.name[:200]!r} in the registry is not a wheel: delete it.")
            continue
        if candidate.name.tags.isdisjoint(ours):
            tags = ", ".join(sorted(map(str, candidate.name.tags))[:5])
            choice.skipped.append(candidate.skipped(f"it is for {tags}, and this is {_interpreter()}"))
        else:
            choice.packages.setdefault(candidate.name.package, []).append(candidate)
    for candidates in choice.packages.values():
        candidates.sort(key=lambda candidate: (candidate.name.version, candidate.stored.info.revision), reverse=True)
    return choice


def missing_requirements(requires: Iterable[str], selected: dict[str, str]) -> list[str]:
    """Give the requirements that neither the selected wheels nor the worker's environment meet.

    :param selected: package -> version.
    """
    return [text[:_MAX_TEXT_CHARS] for text in requires if not _is_met(text, selected)]


def _is_met(text: str, selected: dict[str, str]) -> bool:
    try:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            return True
    except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName, RecursionError):
        # What nobody can understand nobody can meet.
        return False
    except InvalidVersion:
        # Packaging 22 to 25, of a kernel's release "6.1.0-13-amd64"; in 26 such a marker does not hold.
        return True
    version = selected.get(normalised(requirement.name)) or _installed_version(requirement.name)
    if version is None:
        return False
    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        # Packaging 22 to 25, of Debian's "1.1build1"; 26 says this.
        return not requirement.specifier


def _installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _interpreter() -> str:
    return f"{platform.python_implementation()} {platform.python_version()} on {next(iter(sys_tags())).platform}"
