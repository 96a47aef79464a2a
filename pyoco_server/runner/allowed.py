"""Which Python code a worker lends itself to: ``--allow``.

A callable is judged twice. By the name under which it is asked for, before anything is imported, because an import
executes code already. And by where it is defined, because ``mypkg:os.system`` and ``from os import system`` lead out of
a module that is allowed.

Source: issue 8, "Limits on what runs".
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from pyoco_server.errors import NotAllowed


class Allowed:
    """What may be executed.

    :param patterns: a module, a package with all that is in it (``mypkg.*``), or one callable (``mypkg.tasks:load``);
        none = everything.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._patterns = patterns

    def check_name(self, module: str, attributes: str, task: str) -> None:
        """Judge a callable by its name.

        :param attributes: what follows the module, with dots.
        :raises NotAllowed: no pattern covers it.
        """
        if not self._covers(module, attributes):
            raise self._refusal(f"{module}:{attributes} (of task {task}", "it")

    def check_module(self, module: str) -> None:
        """Judge a module whose import brings tasks.

        :raises NotAllowed: no pattern covers all of it.
        """
        if not self._covers(module, ""):
            raise self._refusal(f"{module} (a module with tasks", "it")

    def check_defined(self, found: Any, task: str) -> None:
        """Judge a callable by where it is defined.

        :raises NotAllowed: no pattern covers that, or nobody can tell.
        """
        if not self._patterns:
            return
        part = _definition(found)
        module, name = getattr(part, "__module__", None), getattr(part, "__qualname__", None)
        if not isinstance(module, str) or not isinstance(name, str):
            raise self._refusal(f"{found!r:.200} (of task {task}", "where it is defined cannot be told, so it")
        if not self._covers(module, name):
            raise self._refusal(f"{module}:{name} (of task {task}; that is where it is defined", "it")

    def _covers(self, module: str, name: str) -> bool:
        return not self._patterns or any(_fits(pattern, module, name) for pattern in self._patterns)

    def _refusal(self, what: str, subject: str) -> NotAllowed:
        return NotAllowed(
            f"{what}): {subject} is not among what this worker may execute: {', '.join(self._patterns)}. Whoever runs "
            "the worker can add it with --allow."
        )


def _fits(pattern: str, module: str, name: str) -> bool:
    place, _, wanted = pattern.partition(":")
    if wanted:
        return (module, name) == (place, wanted)
    package = place.removesuffix(".*")
    return module == package or (place != package and module.startswith(f"{package}."))


def _definition(found: Any) -> Any:
    """Give what says where a callable is defined: of an object that can be called, its class."""
    while isinstance(found, functools.partial):
        found = found.func
    found = getattr(found, "__func__", found)
    return found if hasattr(found, "__qualname__") else type(found)
