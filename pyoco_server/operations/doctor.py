"""``doctor``: looks at an installation, says what is wrong, and mends what is safe to mend.

Source: contract, sections 2 and 5; design, section 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.overview import await_stream, server_facts
from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.bridge.streams import change_consumer, change_stream, remove_unused_consumer
from pyoco_server.config import Config
from pyoco_server.errors import BusDenied, BusError, BusUnavailable
from pyoco_server.operations.findings import Change, Finding, Severity, fault
from pyoco_server.operations.fleet_checks import check_clocks, check_jobs, check_settings, check_tags, check_workers
from pyoco_server.operations.stream_checks import check_consumers, check_servers, check_streams
from pyoco_server.operations.survey import Survey, look
from pyoco_server.service import Deadline

#: How long new replicas are waited for; of a stream that has consumers the server makes them in 20 seconds and more.
_CATCH_UP_SEC = 120.0


def examine(bus: Bus, config: Config, monitors: Sequence[str] | None = None) -> tuple[Survey | None, list[Finding]]:
    """Look at everything, and give what was seen and what is wrong, faults first.

    :param monitors: see :func:`~pyoco_server.operations.survey.look`.
    :return: ``None`` for what was seen where JetStream does not answer; that is the finding then.
    """
    server = server_facts(bus)
    if not server.has_jetstream:
        return None, [fault("no-jetstream", server.name, "It keeps nothing: JetStream is off.", "pyoco-nats up")]
    try:
        survey = look(bus, config, monitors)
    except (BusError, BusUnavailable) as exc:
        text = f"JetStream does not answer, as without a majority of the servers: {exc.detail}"
        return None, [fault("no-answer", server.name, text, "start the NATS servers that are away")]
    return survey, diagnose(survey, config)


def diagnose(survey: Survey, config: Config) -> list[Finding]:
    """Give what is wrong, faults first."""
    found = [
        *check_settings(config),
        *check_servers(survey),
        *check_streams(survey, config),
        *check_consumers(survey, config),
        *check_jobs(survey, config),
        *check_tags(survey, config),
        *check_workers(survey),
        *check_clocks(survey, config),
    ]
    return sorted(found, key=lambda finding: (finding.severity is not Severity.FAULT, finding.id, finding.subject))


def mend(
    bus: Bus, config: Config, findings: Iterable[Finding], monitors: Sequence[str] | None = None
) -> tuple[list[Finding], list[Finding]]:
    """Carry out the changes of findings, wait until new replicas have everything, and look again.

    :param monitors: see :func:`~pyoco_server.operations.survey.look`.
    :return: what was mended, and what is wrong after that; where the server refuses or does not permit a
        change, the finding says why.
    :raises BusUnavailable: no answer; safe to repeat.
    """
    mended: list[Finding] = []
    reasons: dict[tuple[str, str], str] = {}
    for finding in findings:
        if finding.change is None:
            continue
        try:
            _apply(bus, config, finding.change)
        except (BusError, BusDenied) as exc:
            reasons[finding.id, finding.subject] = exc.detail
        else:
            mended.append(finding)
    deadline = Deadline(_CATCH_UP_SEC)
    for finding in mended:
        if finding.change is not None and "num_replicas" in finding.change.settings:
            # A stream whose leader goes before its copies are made has none until that comes back.
            await_stream(bus, finding.change.stream, lambda found: not found.is_moving, deadline)
    _, left = examine(bus, config, monitors)
    return mended, [_with_reason(finding, reasons) for finding in left]


def _apply(bus: Bus, config: Config, change: Change) -> None:
    if change.consumer is not None and not change.settings:
        remove_unused_consumer(bus, change.stream, change.consumer)
    elif not change.settings:
        ensure_resources(bus, config, only=[change.stream])
    elif change.consumer is not None:
        change_consumer(bus, change.stream, change.consumer, change.settings)
    else:
        change_stream(bus, change.stream, change.settings)


def _with_reason(finding: Finding, reasons: Mapping[tuple[str, str], str]) -> Finding:
    reason = reasons.get((finding.id, finding.subject))
    if finding.change is None or reason is None:
        return finding
    return replace(finding, text=f"{finding.text} It cannot be mended: {reason}")
