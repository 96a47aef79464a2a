"""The rules that the gateway's metrics are held to find what they are for."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.promlint import criticised


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("# TYPE a gauge\na 1", "a has no help"),
        ("# HELP a_total x\n# TYPE a_total gauge\na_total 1", "a_total is no counter and ends in _total"),
        ("# HELP a_count x\n# TYPE a_count gauge\na_count 1", "a_count has a suffix of histograms"),
        ('# HELP a x\n# TYPE a gauge\na{le="1"} 1', "a has a label of histograms or summaries"),
        ("# HELP aB x\n# TYPE aB gauge\naB 1", "aB is, or has a label, not in snake case: aB"),
        ('# HELP a x\n# TYPE a gauge\na{bC="1"} 1', "a is, or has a label, not in snake case: bC"),
        ("# HELP a_gauge x\n# TYPE a_gauge gauge\na_gauge 1", "a_gauge holds the kind gauge"),
        ("# HELP a_ms x\n# TYPE a_ms gauge\na_ms 1", "a_ms holds the abbreviated unit ms"),
        ("# HELP a_hours x\n# TYPE a_hours gauge\na_hours 1", "a_hours holds a unit that is no base unit: hours"),
        (
            "# HELP a_kilobytes x\n# TYPE a_kilobytes gauge\na_kilobytes 1",
            "a_kilobytes holds a unit that is no base unit",
        ),
        ('# HELP a x\n# TYPE a gauge\na{b="1"} 1\na{b="1"} 2', "a has a series twice"),
    ],
)
def test_what_promtool_criticises_is_found(text: str, fault: str) -> None:
    (found,) = criticised(text_string_to_metric_families(text + "\n"))
    assert found.startswith(fault)


def test_what_it_praises_is_left() -> None:
    histogram = '# HELP a_seconds x\n# TYPE a_seconds histogram\na_seconds_bucket{le="+Inf"} 1\na_seconds_count 1\n'
    counter = "# HELP c_total x\n# TYPE c_total counter\nc_total 1\n"
    assert list(criticised(text_string_to_metric_families(histogram + counter))) == []
