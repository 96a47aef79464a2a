"""What a slot needs to begin a run: a runner that has booted and has the code of now, and a folder to work in.

Used on the thread of the slot.

Source: design, section 6.
"""

from __future__ import annotations

import itertools
import logging

from pyoco_server.service import Deadline, Service
from pyoco_server.worker.nursery import Nursery
from pyoco_server.worker.printed import Printed, log_printed
from pyoco_server.worker.runner_link import ChildBootFailed, Died, RunnerLink
from pyoco_server.worker.scratch import Scratch
from pyoco_server.worker.wheelsync import WheelSync

logger = logging.getLogger(__name__)

_BOOT_SEC = 60.0
#: Waits between runners that cannot boot or folders that cannot be made: the last one is repeated.
_PAUSES_SEC = (1.0, 2.0, 5.0, 15.0, 30.0)
#: A successor boots in the second half of a runner's runs: what its resolver imports may take as long as fifty small
#: ones.
_BOOT_SHARE = 2


class Equipment:
    """A runner and a folder, one after the other.

    :param max_runs: how many runs a runner executes.
    :param slot: whose they are: nobody waits for a runner any more once it is to stop.
    """

    def __init__(self, nursery: Nursery, scratch: Scratch, wheels: WheelSync, max_runs: int, slot: Service) -> None:
        self._nursery = nursery
        self._scratch = scratch
        self._wheels = wheels
        self._max_runs = max_runs
        self._slot = slot
        self._runner: RunnerLink | None = None
        #: Where the next run will work, and where the last one did.
        self._folder: str | None = None
        self._used_folder: str | None = None
        self._is_successor_ordered = False

    def wait(self) -> RunnerLink | None:
        """Wait until a run can begin; ``None`` when the worker stops.

        Before a job is fetched: a worker that can begin nothing must not use up the deliveries of the queue.
        """
        pauses = itertools.chain(_PAUSES_SEC, itertools.repeat(_PAUSES_SEC[-1]))
        while not self._slot.is_stopping:
            try:
                if self._runner is None:
                    self._runner = self._next_runner()
                self._make_folder()
                return self._runner
            except ChildBootFailed as exc:
                if not self._slot.is_stopping:
                    _complain(exc)
            except OSError as exc:
                logger.error("no folder can be made for the next run: %s", exc, exc_info=True)
            self._slot.pause(next(pauses))
        return None

    def fitting_runner(self, *, is_last_chance: bool) -> RunnerLink | None:
        """Give a living runner with the code and the wheels of now; ``None`` when the job is to go back.

        That is when the worker stops, or no other runner can boot: another worker may have one.

        :param is_last_chance: whether the job cannot go back: then this waits.
        """
        self._see_to_life(is_last_chance)
        # Twice, for a successor may have booted before the change; not for ever, for a file may change at each import.
        for _ in range(2):
            if self._runner is None or not self._runner.is_outdated:
                break
            logger.info("another runner is taken, because code was changed that this one has imported")
            self._replace(is_last_chance)
        while self._runner is not None and self._runner.wheels.key != self._wheels.refresh().key:
            self._replace(is_last_chance)
        return self._runner

    def follow_wheels(self) -> None:
        """Take a runner with the wheels of now, where that can be had; meanwhile there is no run."""
        try:
            while self._runner is not None and self._runner.wheels.key != self._wheels.current.key:
                self.end_runner()
                self._runner = self._next_runner()
        except ChildBootFailed as exc:
            # The next job gives it another chance.
            _complain(exc)

    def begin_run(self) -> str:
        """Count a run, and give its folder."""
        assert self._runner is not None and self._folder is not None, "a slot that has not waited took a job"
        self._runner.runs_done += 1
        if self._runs_left <= self._max_runs // _BOOT_SHARE:
            self.order_successor()
        folder, self._folder = self._folder, None
        return folder

    def is_ready_again(self, is_runner_reusable: bool) -> bool:
        """Say whether another run could begin with this runner, once the present one has left it."""
        if not is_runner_reusable or self._runs_left <= 0:
            return False
        try:
            self._make_folder()
        except OSError:
            # Told where it is waited for.
            return False
        return True

    def end_run(self, folder: str, *, is_runner_reusable: bool) -> None:
        """Take note that a run has ended; its folder goes with :meth:`tidy`."""
        if self._runs_left <= 0 or not is_runner_reusable:
            self.end_runner()
        self._used_folder = folder

    def tidy(self) -> None:
        """Remove the folder of the last run."""
        folder, self._used_folder = self._used_folder, None
        if folder is not None:
            self._scratch.remove_folder(folder)

    def order_successor(self) -> None:
        """Have another runner booted, where none is ordered yet."""
        if not self._is_successor_ordered:
            self._nursery.order()
            self._is_successor_ordered = True

    def end_runner(self) -> None:
        """Part with the runner; works twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.kill()
            if not self._slot.is_stopping:
                self.order_successor()

    def leave(self) -> None:
        """Let go of everything, with no run left."""
        self.tidy()
        if self._runner is not None:
            self._runner.leave()

    @property
    def _runs_left(self) -> int:
        return 0 if self._runner is None else self._max_runs - self._runner.runs_done

    def _make_folder(self) -> None:
        if self._folder is None:
            self._folder = self._scratch.new_folder()

    def _replace(self, is_last_chance: bool) -> None:
        """Wait for another runner, which has one chance to boot; at the last chance of a job as many as it takes."""
        self.end_runner()
        try:
            self._runner = self._next_runner()
        except ChildBootFailed as exc:
            _complain(exc)
            if is_last_chance:
                self.wait()

    def _next_runner(self) -> RunnerLink | None:
        """Wait for a runner that has booted; ``None`` when the worker stops.

        :raises ChildBootFailed: there is none yet.
        """
        self.order_successor()
        # Whatever comes, also an error: else nobody would order the next one.
        self._is_successor_ordered = False
        runner = self._nursery.take()
        if runner is None:
            return None
        try:
            runner.wait_ready(Deadline(_BOOT_SEC), must_leave=lambda: self._slot.is_stopping)
        except BaseException:
            runner.kill()
            raise
        return runner

    def _see_to_life(self, is_last_chance: bool) -> None:
        """Take another runner where there is none, or it has ended while it was idle.

        What it printed while it was idle is passed on here, so that it is not taken for the next run's.
        """
        if self._runner is None:
            self._replace(is_last_chance)
        while self._runner is not None:
            found = self._runner.receive(0)
            for message in found:
                if isinstance(message, Printed):
                    log_printed(message.text.splitlines(), {})
                elif isinstance(message, Died):
                    logger.warning("an idle runner %s", message.how)
                    self._replace(is_last_chance)
            if not found:
                break


def _complain(exc: ChildBootFailed) -> None:
    logger.error("a runner cannot boot: %s", exc, exc_info=True)
