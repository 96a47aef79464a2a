"""docs/operations.md is carried out: a run from cron fails; it is seen, explained, mended and run again."""

from __future__ import annotations

import json

import pytest

from tests.support.machines import Machine
from tests.support.rehearsal import Rehearsal

pytestmark = pytest.mark.long


def logged(machine: Machine) -> list[dict[str, str]]:
    return [json.loads(line) for line in (machine.root / "var/log/nightly.log").read_text().splitlines()]


def test_a_run_from_cron_fails_and_is_explained_and_mended(rehearsal: Rehearsal) -> None:
    n1, n2 = rehearsal["n1"], rehearsal["n2"]
    rehearsal.install()
    rehearsal.play("## Submit from cron")
    # Both fire, and it is one run.
    mails = [rehearsal.fire(name, "nightly") for name in ("n1", "n2")]
    (run_id,) = {run["run_id"] for machine in (n1, n2) for run in logged(machine)}
    for mail in mails:
        assert mail.returncode == 1 and f"ERR-PYOCO-RUN Run {run_id} ended as FAILED: 'amount'" in mail.stderr

    (seen,) = rehearsal.play("## See that something failed")
    assert f"{run_id}  FAILED  nightly" in seen and "execution_error" in seen
    assert run_id in rehearsal.page("/")
    (reason,) = rehearsal.play("## Find its reason", RUN_ID=run_id)
    assert "KeyError: 'amount'" in reason and '"price": 5' in reason and "reading the orders of" in reason
    page = rehearsal.page(f"/ui/runs/{run_id}")
    assert "KeyError" in page and "reading the orders of" in page

    mend, rerun, replay, purge = (0, 1, 2, 3)
    rehearsal.play("## Mend it and run it again", mend)
    (told,) = rehearsal.play("## Mend it and run it again", rerun, RUN_ID=run_id)
    again = json.loads(told)
    assert (again["status"], again["rerun_of"], again["wheels"][0]["version"]) == ("COMPLETED", run_id, "1.1")
    assert "other wheels" in again["resume_note"]
    (told,) = rehearsal.play("## Mend it and run it again", replay)
    assert told.splitlines()[-1] == "(no items)"
    (told,) = rehearsal.play("## Mend it and run it again", purge)
    assert json.loads(told) == {"deleted": 0}
    # The key still names the first run: what cron submits for this day stays what it was.
    assert rehearsal.fire("n1", "nightly").returncode == 1
    rehearsal.play("## Keep it well")
