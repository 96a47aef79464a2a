"""What a worker does with the files of a run, a step at a time, while they change under its hands."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyoco_server.contract import names
from pyoco_server.contract.artifacts import content_place
from pyoco_server.contract.runner_protocol import Saved
from pyoco_server.stores.artifacts import ArtifactStore
from pyoco_server.worker.artifacts import ArtifactKeeper
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually

#: More than three pieces.
LARGE = os.urandom(400_000)


class Desk:
    """A folder of files, and what keeps them."""

    def __init__(self, parts: Parts, folder: Path) -> None:
        self.folder = folder
        self._parts = parts
        self.store = ArtifactStore(parts.bus)
        self.run_id = f"run-{os.urandom(4).hex()}"
        self.said: list[tuple[str | None, str]] = []
        self.keeper = ArtifactKeeper(
            self.store, parts.config, self.run_id, 1, str(folder), lambda task, text: self.said.append((task, text))
        )

    def save(self, name: str, data: bytes, task: str = "t") -> Path:
        path = self.folder / name
        path.write_bytes(data)
        self.keeper.note(Saved(task, name, "bytes"))
        return path

    def empty(self, between: Callable[[], object] = lambda: None) -> None:
        """Take steps until there is no more to do."""
        while self.keeper.has_work:
            self.keeper.step()
            between()

    def empty_patiently(self) -> None:
        """Take steps until there is no more to do, as long as NATS needs to come back."""

        def is_done() -> bool:
            self.keeper.step()
            return not self.keeper.has_work

        eventually(is_done, what="the end of the upload", timeout_sec=60)

    def contents(self) -> list[str]:
        """Name all content of the run, that of uploads which ended half-way, too."""
        pattern = names.chunk_subject("pyoco_artifacts", f"{content_place(self.run_id)}.>")
        return list(self._parts.info("OBJ_pyoco_artifacts", subjects_filter=pattern)["state"].get("subjects") or {})

    def kept(self) -> dict[str, bytes]:
        return {item.name: b"".join(self.store.chunks(self.run_id, item)) for item in self.store.of_run(self.run_id)}

    def mark(self, name: str, task: str = "t") -> dict[str, object]:
        found: dict[str, object] = self.keeper.marked(task, {})["artifacts"][name]
        return found


@pytest.fixture
def desk(parts: Parts, tmp_path: Path) -> Desk:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    return Desk(parts, folder)


def test_a_file_that_is_saved_anew_within_one_tick_of_the_clock_is_kept_anew(desk: Desk) -> None:
    path = desk.save("x", b"one")
    before = path.stat()
    desk.keeper.task_ended("t")
    desk.empty()
    desk.save("x", b"two", "u")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    desk.keeper.task_ended("u")
    desk.empty()
    assert desk.kept() == {"x": b"two"}
    assert desk.mark("x", "u")["kept"] is True


def test_what_was_kept_is_not_kept_twice(desk: Desk) -> None:
    desk.save("x", b"x")
    desk.keeper.task_ended("t")
    desk.empty()
    desk.keeper.run_ended()
    assert not desk.keeper.has_work


def test_a_file_that_changes_once_while_it_is_read_is_read_anew(desk: Desk) -> None:
    path = desk.save("x", LARGE)
    desk.keeper.task_ended("t")
    desk.keeper.step()
    path.write_bytes(LARGE[::-1])
    os.utime(path, ns=(1, 1))
    desk.empty()
    assert desk.kept() == {"x": LARGE[::-1]} and desk.said == []


def test_a_file_that_goes_on_changing_is_left_alone(desk: Desk) -> None:
    path = desk.save("x", LARGE)
    desk.keeper.task_ended("t")
    times = iter(range(1, 1_000))
    desk.empty(lambda: os.utime(path, ns=(1, next(times))))
    assert desk.kept() == {}
    assert desk.said == [("t", "artifact x is not kept: it changes while it is read")]
    assert desk.mark("x") == {"kept": False, "reason": "it changes while it is read", "type": "bytes"}


def test_a_file_that_is_gone_before_it_is_read_is_said_to_be_so(desk: Desk) -> None:
    desk.save("x", b"x").unlink()
    desk.keeper.task_ended("t")
    desk.empty()
    assert desk.said == [("t", "artifact x is not kept: it cannot be read: No such file or directory")]


def test_a_folder_that_cannot_be_listed_is_said_to_be_so_and_the_others_are_kept(desk: Desk) -> None:
    for name in "abc":
        (desk.folder / name).mkdir()
        (desk.folder / name / "x").write_bytes(b"x")
    names = desk.keeper._folder.names
    listed = names(lambda *folder: desk.said.append(folder))
    assert next(listed) == "a/x"
    # Folders are found before they are opened.
    (desk.folder / "b").rename(desk.folder / "other")
    (desk.folder / "b").symlink_to("other")
    assert [*listed] == ["c/x"]
    assert desk.said == [("b", "a part of its path is a link, or no folder")]


def test_a_task_that_puts_a_link_in_the_place_of_the_folder_is_told_that_nothing_is_kept(
    desk: Desk, tmp_path: Path
) -> None:
    (desk.folder / "x").write_bytes(b"x")
    desk.folder.rename(tmp_path / "other")
    desk.folder.symlink_to("other")
    desk.keeper.run_ended()
    desk.empty()
    why = "a part of its path is a link, or no folder"
    assert desk.said == [(None, f"what lies in the folder of artifacts is not kept: {why}")] and desk.kept() == {}


def test_a_run_without_a_folder_has_saved_nothing(desk: Desk) -> None:
    desk.folder.rmdir()
    desk.keeper.run_ended()
    desk.empty()
    assert desk.said == []


def test_a_pipe_that_takes_the_place_of_a_file_holds_nobody_up(desk: Desk) -> None:
    desk.save("x", b"x").unlink()
    os.mkfifo(desk.folder / "x")
    desk.keeper.task_ended("t")
    desk.empty()
    assert desk.said == [("t", "artifact x is not kept: it is not a file")]


def test_what_is_given_up_is_said_once_each(desk: Desk) -> None:
    for name in "ab":
        desk.save(name, LARGE)
    desk.keeper.task_ended("t")
    desk.keeper.step()
    assert desk.keeper.give_up("time is up") == ["t", "t"]
    assert not desk.keeper.has_work and desk.kept() == {}
    assert [text for _, text in desk.said] == [f"artifact {name} is not kept: time is up" for name in "ab"]


def test_nats_away_costs_a_step_no_more_than_a_moment_and_the_file_begins_anew(desk: Desk, nats: NatsServer) -> None:
    desk.save("x", LARGE)
    desk.keeper.task_ended("t")
    desk.keeper.step()
    nats.stop()
    eventually(lambda: desk.keeper.step() is None and desk.keeper.stalled_since is not None, what="a step in vain")
    assert desk.keeper.has_work and not desk.keeper.is_ready
    nats.start()

    desk.empty_patiently()
    assert desk.kept() == {"x": LARGE} and desk.keeper.stalled_since is None


def test_nats_that_goes_before_the_description_is_stored_has_that_sent_alone(desk: Desk, nats: NatsServer) -> None:
    desk.save("x", b"one piece")
    desk.keeper.task_ended("t")
    desk.keeper.step()
    nats.stop()
    eventually(lambda: desk.keeper.step() is None and desk.keeper.stalled_since is not None, what="a step in vain")
    since = desk.keeper.stalled_since
    nats.start()
    desk.empty_patiently()
    assert since is not None and desk.keeper.stalled_since is None
    assert desk.kept() == {"x": b"one piece"}
    assert len(desk.contents()) == 1


def test_a_file_that_is_gone_when_nats_comes_back_leaves_the_others_all_their_time(
    desk: Desk, nats: NatsServer
) -> None:
    path = desk.save("x", LARGE)
    desk.keeper.task_ended("t")
    nats.stop()
    eventually(lambda: desk.keeper.step() is None and desk.keeper.stalled_since is not None, what="a step in vain")
    path.unlink()
    nats.start()
    desk.empty_patiently()
    assert desk.said == [("t", "artifact x is not kept: it cannot be read: No such file or directory")]
    assert desk.keeper.stalled_since is None


def test_no_file_stays_open(desk: Desk) -> None:
    desk.save("x", LARGE)
    desk.keeper.task_ended("t")
    desk.keeper.step()
    assert open_files(desk.folder)
    desk.keeper.close()
    desk.keeper.close()
    assert not open_files(desk.folder)


def open_files(folder: Path) -> list[str]:
    place = Path("/proc/self/fd")
    links = [os.readlink(path) for path in place.iterdir() if path.is_symlink()]
    return [link for link in links if link.startswith(str(folder))]
