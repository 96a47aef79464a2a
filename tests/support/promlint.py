"""The rules of ``promtool check metrics``, for what a gateway exposes.

Source: Prometheus, "Metric and label naming"; the rules of its client library's ``promlint``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import Metric

_ABBREVIATED = "s ms us ns sec b kb mb gb tb pb m h d".split()
_KINDS = "counter gauge histogram summary untyped".split()
_PREFIXES = "pico nano micro milli centi deci deca hecto kilo kibi mega mibi mebi giga gibi tera tebi peta pebi".split()
_BASE = "amperes bytes celsius grams joules kelvins meters metres seconds volts".split()
_OTHER = "minutes hours days weeks bits fahrenheit ounces pounds calories feet inches yards miles".split()


def criticised(families: Iterable[Metric]) -> Iterator[str]:
    """Give what is wrong with metrics, a sentence each, beginning with the metric's name."""
    families = list(families)
    series = Counter((sample.name, *sorted(sample.labels.items())) for family in families for sample in family.samples)
    for family in families:
        yield from (f"{family.name} {fault}" for fault in _faults(family))
    yield from (f"{name[0]} has a series twice" for name, count in series.items() if count > 1)


def _faults(family: Metric) -> Iterator[str]:
    name, words = family.name, family.name.split("_")
    if not family.documentation:
        yield "has no help"
    # The parser takes the suffix of a counter off.
    if family.type != "counter" and name.endswith("_total"):
        yield "is no counter and ends in _total"
    if family.type == "counter" and not all(sample.name.endswith("_total") for sample in family.samples):
        yield "is a counter and does not end in _total"
    if family.type not in ("histogram", "summary") and name.endswith(("_bucket", "_count", "_sum")):
        yield "has a suffix of histograms"
    labels = {label for sample in family.samples for label in sample.labels}
    if ("le" in labels and family.type != "histogram") or ("quantile" in labels and family.type != "summary"):
        yield "has a label of histograms or summaries"
    for text in (name, *labels):
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", text):
            yield f"is, or has a label, not in snake case: {text}"
    yield from (f"holds the kind {word}" for word in words if word in _KINDS)
    yield from (f"holds the abbreviated unit {word}" for word in words[1:] if word in _ABBREVIATED)
    for word in words:
        if word in _OTHER or any(word == prefix + unit for prefix in _PREFIXES for unit in _BASE):
            yield f"holds a unit that is no base unit: {word}"
