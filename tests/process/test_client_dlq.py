"""``pyoco-client dlq`` as an operator types it, on the dead letters of runs that have failed."""

from __future__ import annotations

import json

import pytest

from tests.support.fleet import flow
from tests.support.plant import Plant


@pytest.fixture(scope="module", autouse=True)
def worker(plant: Plant) -> None:
    plant.hire()


def test_an_operator_mends_the_cause_and_replays_what_has_failed(plant: Plant) -> None:
    workflow = flow("need", need="sample_tasks:need_file")
    failed = [plant.submit(workflow, params={"name": "mended"}) for _ in range(2)]
    for run_id in failed:
        plant.fleet.ended(run_id, "FAILED")
    (plant.folder / "mended").touch()

    listed = json.loads(plant.command("dlq", "list", "--reason", "execution_error").stdout)
    assert [letter["run_id"] for letter in listed["items"]] == failed[::-1]
    seqs = [str(letter["seq"]) for letter in listed["items"]]
    table = plant.command("dlq", "list", "--limit", "1", "--output", "table").stdout.splitlines()
    assert table[0].split() == ["seq", "timestamp", "tag", "reason", "run_id", "flow_name", "error"]
    assert table[1].split()[0] == seqs[0] and table[2] == f"next_cursor: {seqs[0]}"
    shown = json.loads(plant.command("dlq", "show", seqs[0]).stdout)
    assert (shown["seq"], shown["error"]) == (int(seqs[0]), "mended is not there")

    one = json.loads(plant.command("dlq", "replay", seqs[0]).stdout)
    many = [json.loads(line) for line in plant.command("dlq", "replay", "--tag", "t").stdout.splitlines()]
    assert [item["seq"] for item in (one, *many)] == [int(seq) for seq in seqs]
    for item, run_id in zip((one, *many), failed[::-1], strict=True):
        assert plant.fleet.ended(item["run_id"])["replay_of"] == run_id
    assert plant.command("dlq", "list", "--output", "table").stdout == "(no items)\n"


def test_what_cannot_be_replayed_is_told_and_can_be_purged(plant: Plant) -> None:
    plant.fleet.queue(b"no job")
    plant.fleet.wait_until(plant.fleet.dead_letters, "the dead letter")
    done = plant.command("dlq", "replay", "--all")
    (line,) = done.stdout.splitlines()
    assert done.returncode == 1 and "1 of 1 dead letters could not be replayed" in done.stderr
    assert "cannot be read" in json.loads(line)["detail"]
    seq = str(json.loads(line)["seq"])
    assert json.loads(plant.command("dlq", "purge", seq).stdout) == {"seq": int(seq), "deleted": True}
    gone = plant.command("dlq", "show", seq)
    assert (gone.returncode, gone.stdout) == (1, "") and "HTTP 404" in gone.stderr
    assert json.loads(plant.command("dlq", "purge", "--all").stdout) == {"deleted": 0}


@pytest.mark.parametrize("args", [(), ("1", "--all"), ("1", "--tag", "t"), ("--all", "--reason", "x")])
@pytest.mark.parametrize("verb", ["replay", "purge"])
def test_it_must_be_said_which_letters_are_meant(plant: Plant, verb: str, args: tuple[str, ...]) -> None:
    done = plant.command("dlq", verb, *args)
    assert (done.returncode, done.stdout) == (1, "")
    assert "ERR-PYOCO-0018" in done.stderr and "number of a letter" in done.stderr
