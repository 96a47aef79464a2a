"""What may be wrong with workers, with jobs that wait for them, and with clocks.

Source: contract, sections 1 and 2; design, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator

from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.errors import InvalidSetting
from pyoco_server.operations.attention import lost_workers, out_of_sync
from pyoco_server.operations.findings import Finding, fault, mendable, warning
from pyoco_server.operations.survey import Survey
from pyoco_server.states import WorkerState

#: Clocks may differ by so much before anybody is told; a record takes a moment to be stored.
_CLOCK_SEC = 2.0
_SET_CLOCK = "timedatectl set-ntp true"


def check_settings(config: Config) -> Iterator[Finding]:
    """Find settings of this process that contradict each other, as a worker with the same ones would."""
    try:
        config.check_worker()
    except InvalidSetting as exc:
        yield fault("settings", "environment", exc.detail, "set one of them to another value; see docs/config.md")


def check_jobs(survey: Survey, config: Config) -> Iterator[Finding]:
    """Find jobs that wait and that nobody will take."""
    # A tag that no worker has ever served has no consumer.
    waiting = {**survey.job_counts, **{names.tag_of(each.name): each.waiting_count for each in survey.consumers}}
    for tag in waiting.keys() - survey.served_tags:
        if waiting[tag]:
            text = f"Jobs wait ({waiting[tag]}), and no worker serves the tag {tag}."
            yield warning("no-worker", tag, text, f"pyoco-worker --tags {tag}")
    for count in survey.lost_jobs:
        tag = count.subject.removeprefix(f"{config.work_subject_prefix}.")
        text = f"Jobs ({count.lost_count}) were handed out {count.max_deliver} times, and are not handed out again."
        yield warning("stuck-jobs", tag, text, "pyoco-server up: a gateway ends their runs")


def check_tags(survey: Survey, config: Config) -> Iterator[Finding]:
    """Find consumers of tags that nobody seems to use any more: a stream takes a thousand of them.

    A worker makes the consumer of its tag when it starts. So it is of no use where no worker is known to have served
    the tag, which is forgotten after a week, and nothing of the tag lies in the queue. Who asks over HTTP has no
    record, and a server that was started anew knows of no job before; but whoever still serves the tag makes its
    consumer again.
    """
    known = {tag for sight in survey.workers for tag in sight.view.tags}
    stuck = {count.subject for count in survey.lost_jobs}
    for consumer in survey.consumers:
        tag = names.tag_of(consumer.name)
        is_empty = not (consumer.waiting_count or consumer.in_work_count)
        is_stuck = consumer.settings.get("filter_subject") in stuck
        if is_empty and not is_stuck and tag not in known and consumer.idle_sec > config.worker_retention_sec:
            days = consumer.idle_sec / 86_400
            text = (
                f"No worker is on record for the tag {tag}, and NATS remembers no job handed out for {days:.0f} days; "
                "pollers over HTTP are not seen."
            )
            yield mendable("tag-unused", consumer.stream, text, consumer=consumer.name)


def check_workers(survey: Survey) -> Iterator[Finding]:
    """Find workers that are lost, or that do not get the wheels that are meant for them."""
    views = [sight.view for sight in survey.workers]
    for view in lost_workers(views):
        text = f"The worker has ended without a word{f' on {view.record.host}' if view.record.host else ''}."
        remedy = f"start it again, or hide it: PATCH /workers/{view.record.worker_id}"
        yield warning("worker-lost", view.record.worker_id, text, remedy)
    for view in out_of_sync(views):
        text = f"The worker cannot sync its wheels: {view.wheel_sync_error}"
        yield warning("wheel-sync", view.record.worker_id, text, "pyoco-client wheels")


def check_clocks(survey: Survey, config: Config) -> Iterator[Finding]:
    """Find clocks that disagree with that of NATS: states and times of runs are wrong by as much."""
    here = survey.clock_ahead_sec
    if here is not None and abs(here) > _CLOCK_SEC:
        yield warning("clock", "this machine", f"Its clock is {_off(here)} that of NATS.", _SET_CLOCK)
    timeout_sec = config.worker_disconnect_timeout_sec
    for sight in survey.workers:
        ahead, record = sight.clock_ahead_sec, sight.view.record
        is_writing = record.state in (WorkerState.RUNNING, WorkerState.IDLE) and sight.silent_sec <= timeout_sec
        if not is_writing or ahead is None or abs(ahead) <= _CLOCK_SEC:
            continue
        text = f"The clock of the worker is {_off(ahead)} that of NATS."
        if -ahead >= timeout_sec:
            yield fault("clock", record.worker_id, f"{text} It counts as gone while it works.", _SET_CLOCK)
        else:
            yield warning("clock", record.worker_id, text, _SET_CLOCK)


def _off(ahead_sec: float) -> str:
    return f"{abs(ahead_sec):.0f} s {'ahead of' if ahead_sec > 0 else 'behind'}"
