"""Finished work: which tasks of an earlier attempt need not be executed again, and how their results are put back.

Source: design, section 6; issue 4.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection
from typing import Any

from pyoco.core.context import Context
from pyoco.core.models import Flow, Task

from pyoco_server.contract.runner_protocol import ARTIFACTS_FOLDER

#: Why nothing is restored, in the words that the run shows.
CONTROL_FLOW_NOTE = "It began again from the start: its flow has loops or switches."


def restorable(flow: Flow, finished: Collection[str]) -> set[str]:
    """Give the tasks whose results can be put back: finished, and so is all that they depend on.

    A task whose predecessor is executed again may have been given another result, so it is executed again, too.

    :param flow: one without loops and switches.
    :param finished: names of tasks whose results are known.
    """
    found = {task.name: task for task in flow.tasks if task.name in finished}
    while True:
        kept = {name: task for name, task in found.items() if all(before.name in found for before in task.dependencies)}
        if len(kept) == len(found):
            return set(kept)
        found = kept


def stand_in(task: Task, result: Any) -> Task:
    """Give a task that does nothing but have this result: the engine then saves its outputs as ever."""
    made = Task(func=lambda: result, name=task.name)
    made.outputs = list(task.outputs)
    return made


def leaves_more_than_its_result(task: Task, ctx: Context, scratch: str, made: Collection[str]) -> bool:
    """Say whether another task may rely on something of this one that its result does not hold.

    That is whatever lies in the run's folder, be it an empty folder or a link, or what a task that is given the context
    has put there. What the tasks beside it have left counts, too, since nobody knows whose it is.

    :param made: what lies there and is of no task.
    """
    if _holds_anything(scratch, made):
        return True
    return "ctx" in inspect.signature(task.func).parameters and bool(ctx.scratch or ctx._vars or ctx.artifacts)


def _holds_anything(scratch: str, made: Collection[str]) -> bool:
    of_pyoco = os.path.join(scratch, ARTIFACTS_FOLDER)
    left = (os.path.join(place, name) for place, folders, files in os.walk(scratch) for name in (*folders, *files))
    return any(path != of_pyoco and path not in made for path in left)
