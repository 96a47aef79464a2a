"""Files that tasks save: kept whatever becomes of the run, of every attempt, and never more than they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.process.conftest import Town
from tests.support.artifacts import Files, marks, saving
from tests.support.crew import Crew, Worker
from tests.support.fleet import Fleet, printed


@pytest.fixture(scope="module")
def files(town: Town) -> Files:
    return Files(town.fleet)


@dataclass
class Hall:
    """A worker whose tasks find the folder in which the test tells them to go on."""

    crew: Crew
    worker: Worker

    @property
    def fleet(self) -> Fleet:
        return self.crew.fleet

    @property
    def tag(self) -> str:
        return self.crew.tag


@pytest.fixture(scope="module")
def hall(town: Town) -> Iterator[Hall]:
    crew = Crew(town.fleet, town.nats.url)
    yield Hall(crew, crew.hire("only", HALL=str(town.fleet.folder), PYOCO_CANCEL_GRACE_PERIOD_SEC="0.5"))
    crew.dismiss()


def completed(hall: Hall, graph: str, status: str = "COMPLETED", **params: Any) -> dict[str, Any]:
    return hall.fleet.ended(hall.crew.submit(saving(graph), params=params), status, timeout_sec=60)


def test_what_a_task_saves_is_there_as_soon_as_the_run_is_seen_to_have_ended(hall: Hall, files: Files) -> None:
    run = completed(hall, "report >> follow_up")
    kept = files.named(run["run_id"])
    assert kept == {
        "report.html": b"<h1>done</h1>",
        "data/rows.csv": b"a,b\n1,2\n",
        "data/raw": bytes(range(256)),
        "summary": b"{'rows': 1}",
        "after.txt": b"after",
    }
    assert files.tasks(run["run_id"]) == {**dict.fromkeys(kept, "report"), "after.txt": "follow_up"}
    assert marks(run, "report")["data/raw"] == {
        "kept": True,
        "type": "bytes",
        "size_bytes": 256,
        "sha256": hashlib.sha256(bytes(range(256))).hexdigest(),
    }
    assert marks(run, "follow_up")["after.txt"]["kept"] is True
    types = {item.name: item.content_type for item in files.store.of_run(run["run_id"])}
    assert types == {
        "report.html": "text/html; charset=utf-8",
        "data/rows.csv": "text/csv; charset=utf-8",
        "data/raw": "application/octet-stream",
        "summary": "text/plain; charset=utf-8",
        "after.txt": "text/plain; charset=utf-8",
    }


def test_a_run_that_saves_nothing_writes_nothing_to_the_store(hall: Hall, files: Files) -> None:
    before = hall.fleet.bus.api("STREAM.INFO.OBJ_pyoco_artifacts")["state"]["last_seq"]
    run = completed(hall, "much_text", size=10)
    assert files.of(run["run_id"]) == {}
    assert marks(run, "much_text") == {}
    assert hall.fleet.bus.api("STREAM.INFO.OBJ_pyoco_artifacts")["state"]["last_seq"] == before


def test_a_file_that_is_saved_again_takes_the_place_of_the_first(hall: Hall, files: Files) -> None:
    run = completed(hall, "report >> save_same")
    assert files.named(run["run_id"])["report.html"] == b"<h1>anew</h1>"
    assert files.tasks(run["run_id"])["report.html"] == "save_same"
    assert marks(run, "save_same")["report.html"]["size_bytes"] == len("<h1>anew</h1>")


def test_files_are_found_wherever_a_task_works_and_however_it_writes_them(hall: Hall, files: Files) -> None:
    run = completed(hall, "save_elsewhere >> write_plainly >> save_empty")
    assert files.named(run["run_id"]) == {"from-inner.txt": b"x", "plot.png": b"\x89PNG", "empty.bin": b""}
    # Nobody has said who wrote the picture.
    assert files.tasks(run["run_id"])["plot.png"] is None


def test_files_of_a_run_that_failed_are_kept(hall: Hall, files: Files) -> None:
    run = completed(hall, "report >> save_and_fail", "FAILED")
    assert files.named(run["run_id"])["before.txt"] == b"as far as it came"
    assert marks(run, "save_and_fail")["before.txt"]["kept"] is True


def test_files_of_a_run_whose_process_died_are_kept(hall: Hall, files: Files) -> None:
    run = completed(hall, "save_and_die", "FAILED")
    assert run["error"].startswith("worker_process_died")
    assert files.named(run["run_id"]) == {"last words.txt": b"farewell"}
    assert files.tasks(run["run_id"]) == {"last words.txt": "save_and_die"}


def test_files_of_a_run_that_took_too_long_are_kept(hall: Hall, files: Files) -> None:
    workflow = saving("save_and_hold", name="never")
    run = hall.fleet.ended(hall.crew.submit(workflow, timeout_sec=0.5), "FAILED", timeout_sec=60)
    assert run["error"].startswith("timeout")
    assert files.named(run["run_id"]) == {"held.txt": b"while it holds"}


def test_files_of_a_run_that_was_cancelled_are_kept(hall: Hall, files: Files) -> None:
    run_id = hall.crew.submit(saving("report >> hold_after"), params={"name": "never"})
    hall.fleet.wait_until(lambda: hall.fleet.run(run_id)["tasks"].get("hold_after") == "RUNNING", "the second task")
    # Those of the first task do not wait for the end of the run.
    hall.fleet.wait_until(lambda: len(files.named(run_id)) == 4, "the files of the first task")
    hall.fleet.change(run_id, status="CANCELLING", cancel_requested_at=1.0, cancel_requested_by=None)
    hall.fleet.ended(run_id, "CANCELLED", timeout_sec=60)
    assert len(files.named(run_id)) == 4


def test_every_attempt_keeps_its_own(hall: Hall, files: Files) -> None:
    fleet = hall.fleet
    job = fleet.store_pending(saving("save_attempts"), params={"name": "tries"}, tag=hall.tag)
    run_id = job.run_id
    fleet.change(run_id, max_attempts=3)
    for _ in range(2):
        fleet.queue(job.to_bytes(), tag=hall.tag)
        fleet.wait_until(lambda: fleet.run(run_id).get("retry_at"), "the end of an attempt")
        fleet.change(run_id, retry_at=None)
    fleet.queue(job.to_bytes(), tag=hall.tag)
    fleet.ended(run_id)
    assert files.of(run_id) == {("tries.txt", number): f"attempt {number}".encode() for number in (1, 2, 3)}
    assert files.store.get(run_id, "tries.txt").attempt == 3


def test_nothing_leaves_the_folder_and_what_is_no_file_is_not_kept(hall: Hall, files: Files) -> None:
    run = completed(hall, "save_hostile")
    kept = files.named(run["run_id"])
    assert kept == {"good.txt": b"good", "日本語 ok.txt": b"unicode"}
    said = marks(run, "save_hostile")
    assert said.pop("good.txt")["kept"] is True
    assert {name: mark["reason"] for name, mark in said.items()} == {
        "../outside.txt": "its name leaves the folder of the artifacts",
        "../absolute.txt": "its name leaves the folder of the artifacts",
        r"two\nlines": "its name has control characters",
    }
    said_in_log = [line for _, line in printed(hall.worker, run["run_id"])]
    for name, reason in (
        ("link", "it is a link"),
        ("linked", "it is a link"),
        ("pipe", "it is not a file"),
        (r"\udcff\udcfe", "its name is not UTF-8 text"),
    ):
        assert f"artifact {name} is not kept: {reason}" in said_in_log


def test_a_folder_that_is_made_a_link_is_not_followed(hall: Hall, files: Files) -> None:
    run = completed(hall, "save_linked_folder")
    assert files.named(run["run_id"]) == {}


def test_a_file_that_grows_without_end_does_not_hold_its_run_up(hall: Hall, files: Files) -> None:
    run = completed(hall, "save_growing")
    growing = marks(run, "save_growing")["growing.txt"]
    assert growing["kept"] or growing["reason"] == "it changes while it is read"
    if growing["kept"]:
        assert len(files.named(run["run_id"])["growing.txt"]) == growing["size_bytes"]


@pytest.mark.parametrize(
    ("graph", "size", "name", "data"),
    [
        ("much_text", 300_000, "much_text/output.txt", "é".encode() * 300_000),
        ("many_bytes", 5_000, "many_bytes/output.bin", bytes(5_000)),
    ],
)
def test_an_output_that_is_too_large_for_its_record_is_kept_as_a_whole(
    hall: Hall, files: Files, graph: str, size: int, name: str, data: bytes
) -> None:
    run = completed(hall, graph, size=size)
    assert files.named(run["run_id"]) == {name: data}
    assert marks(run, graph)[name]["is_output"] is True
    assert run["task_records_truncated"] is True
    assert "(cut: " in run["task_records"][graph]["output"]


def test_a_large_output_that_is_json_is_kept_as_json(hall: Hall, files: Files) -> None:
    run = completed(hall, "much_json", size=400_000)
    (data,) = files.named(run["run_id"]).values()
    assert json.loads(data) == {"rows": ["x" * 10] * 40_000}


def test_a_thousand_files_are_kept_and_no_more(hall: Hall, files: Files) -> None:
    run = completed(hall, "save_many_files")
    assert len(files.store.of_run(run["run_id"])) == 1_000
    said = [line for _, line in printed(hall.worker, run["run_id"])]
    assert said == ["more than 1000 files were saved; the rest is not kept"]


def test_an_output_that_is_nested_too_deeply_for_its_record_is_kept_as_a_whole(hall: Hall, files: Files) -> None:
    run = completed(hall, "deep_json", size=150)
    (data,) = files.named(run["run_id"]).values()
    assert data == b"[" * 150 + b'"inside"' + b"]" * 150
    assert run["task_records"]["deep_json"]["output"].startswith("[[[")
