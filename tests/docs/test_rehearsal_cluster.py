"""docs/operations.md is carried out: three machines are installed, one is lost, then all are, and restored."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.nats import free_port
from tests.support.rehearsal import Rehearsal
from tests.support.waiting import PATIENCE_SEC, eventually

pytestmark = pytest.mark.long


def test_three_machines_lose_one_and_then_everything(rehearsal: Rehearsal) -> None:
    rehearsal.install()
    seen, *_ = rehearsal.play("## See that all is well")
    assert "nothing is wrong\n" in seen and "cluster team" in seen
    assert rehearsal.fire("n1", "pyoco-doctor").stdout == ""
    rehearsal.load.begin()
    rehearsal.load.wait_for_more()

    lose_and_replace(rehearsal)
    saved = back_up(rehearsal)
    rehearsal.load.end()
    # Nobody has lost a run so far.
    rehearsal.load.check()
    restore_all(rehearsal, saved)
    restore_in_place(rehearsal, saved)
    go_on_with_two(rehearsal)


def lose_and_replace(rehearsal: Rehearsal) -> None:
    """Have a machine break under load, and put another one in its place."""
    rehearsal["n1"].lose()
    rehearsal.load.wait_for_more()
    eventually(
        lambda: "server-away" in rehearsal["n2"].shell("pyoco-nats doctor").stdout,
        what="the doctor missing a node",
        timeout_sec=PATIENCE_SEC,
    )
    mail = rehearsal.fire("n2", "pyoco-doctor")
    assert rehearsal["n1"].address in mail.stdout
    rehearsal["n1"].replace()
    copy = 0
    rehearsal.play("## When a machine is lost", copy)
    for heading in ("### Programs", "### NATS nodes", "### Gateways and workers"):
        rehearsal.play(heading, only="n1")
    rehearsal.wait_until_ready()
    wait_until_well(rehearsal)
    rehearsal.load.wait_for_more()


def wait_until_well(rehearsal: Rehearsal) -> None:
    eventually(
        lambda: "nothing is wrong" in rehearsal["n1"].shell("pyoco-nats doctor").stdout,
        what="nothing being wrong",
        timeout_sec=PATIENCE_SEC,
    )


def back_up(rehearsal: Rehearsal) -> set[str]:
    """Save everything while runs come in, try the backup, and give what it must hold."""
    cron, by_hand, trial = (0, 1, 2)
    rehearsal.play("## Back up", cron)
    for number in (0, 1):
        mail = rehearsal.fire("n3", "pyoco-backup", number)
        assert (mail.returncode, mail.stdout, mail.stderr) == (0, "", "")
    assert len([*(rehearsal["n3"].root / "backup").glob("20*/manifest.json")]) == 1
    saved = set(rehearsal.load.accepted)
    rehearsal.play("## Back up", by_hand)
    (told,) = rehearsal.play("## Back up", trial, **{"4333": str(free_port()), "8333": str(free_port())})
    streams = {each["name"]: each["messages"] for each in json.loads(told.splitlines()[0])["streams"]}
    assert streams["KV_pyoco_runs"] >= len(saved)
    return saved


def restore_all(rehearsal: Rehearsal, saved: set[str]) -> None:
    """Lose all machines and what is on them, but the backup, and begin with new ones."""
    kept = rehearsal.clone.parent / "kept"
    # What lies elsewhere is not lost.
    shutil.move(rehearsal["n3"].root / "backup", kept)
    for machine in rehearsal.machines:
        machine.lose()
        machine.replace()
    shutil.move(kept, rehearsal["n3"].root / "backup")
    for heading in ("### Wheel", "### Programs", "### NATS nodes"):
        rehearsal.play(heading)
    rehearsal.play("## Restore", 0)
    rehearsal.play("### Gateways and workers")
    rehearsal.wait_until_ready()
    rehearsal.load.check_restored(saved)
    wait_until_well(rehearsal)


def restore_in_place(rehearsal: Rehearsal, saved: set[str]) -> None:
    """Restore over what is there, on machines that run."""
    refused = rehearsal["n3"].shell("pyoco-nats restore /backup/by-hand --replace --confirm")
    assert refused.returncode == 1 and "Workers are running" in refused.stderr
    for number in (1, 2, 3, 4):
        rehearsal.play("## Restore", number)
    rehearsal.wait_until_ready()
    rehearsal.load.check_restored(saved)
    wait_until_well(rehearsal)


def go_on_with_two(rehearsal: Rehearsal) -> None:
    """Lose a machine that nobody will replace."""
    rehearsal["n1"].lose()
    leave = rehearsal.handbook.blocks("## When a machine is lost")[1]

    def has_left() -> bool:
        done = rehearsal["n2"].shell(leave.text)
        assert done.returncode == 0 or "was within the last" in done.stderr, done.stderr
        return done.returncode == 0

    eventually(has_left, what="the end of the lost node", timeout_sec=PATIENCE_SEC)
    found = rehearsal["n2"].shell("pyoco-nats doctor").stdout
    assert "copies-missing" in found and "server-away" not in found
