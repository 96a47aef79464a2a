"""What a gateway's metrics ask of NATS, all of it at once: each question for itself would wait for two threads more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyoco_server.bridge.answers import stored_message, unix_seconds
from pyoco_server.bridge.client import Bus
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.errors import BusError, KeyMissing


@dataclass(frozen=True)
class Standing:
    """How things are.

    :param letter_count: dead letters that are kept.
    :param lag_sec: for how long the oldest change of a run has been stored that a gateway has not applied.
    """

    letter_count: int
    lag_sec: float


def read_standing(bus: Bus, config: Config, applied_seq: int) -> Standing:
    """Ask how things are.

    :param applied_seq: the last change of a run that the gateway has applied.
    :raises BusUnavailable: no answer.
    """
    stream = names.bucket_stream(config.runs_kv_bucket)
    next_change = {"seq": applied_seq + 1, "next_by_subj": names.key_subject(config.runs_kv_bucket, ">")}
    letters, change, runs = bus.api_all(
        (f"STREAM.INFO.{config.dlq_stream}", {}),
        (f"STREAM.MSG.GET.{stream}", next_change),
        (f"STREAM.INFO.{stream}", {}),
    )
    if isinstance(change, KeyMissing):
        lag_sec = 0.0
    else:
        lag_sec = max(0.0, unix_seconds(_answer(runs)["ts"]) - stored_message(_answer(change)).stored_at)
    return Standing(int(_answer(letters)["state"]["messages"]), lag_sec)


def _answer(given: dict[str, Any] | BusError) -> dict[str, Any]:
    if isinstance(given, BusError):
        raise given
    return given
