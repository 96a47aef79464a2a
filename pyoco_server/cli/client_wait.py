"""A run's end as the end of a command.

Source: issue 3, "Commands".
"""

from __future__ import annotations

from typing import Any

from pyoco_server.errors import RunNotCompleted


def check_completed(run: dict[str, Any]) -> None:
    """Make the state of a run the end of the command.

    :raises RunNotCompleted: it is another than COMPLETED.
    """
    from pyoco_server.cli.tables import printable
    from pyoco_server.states import TERMINAL, RunStatus

    if run["status"] == RunStatus.COMPLETED:
        return
    if run["status"] not in TERMINAL:
        raise RunNotCompleted(f"Run {run['run_id']} has not ended; it is {run['status']}.")
    why = f": {printable(str(run['error']))}" if run.get("error") else "."
    raise RunNotCompleted(f"Run {run['run_id']} ended as {run['status']}{why}")
