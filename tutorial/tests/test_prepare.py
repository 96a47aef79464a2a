"""The tasks of the CPU machine, called as the functions that they are."""

from pyoco.core.context import Context

from forecast import prepare


def test_a_day_is_always_the_same():
    assert prepare.fetch("2026-11-02") == prepare.fetch("2026-11-02")
    assert len(prepare.fetch("2026-11-02")) == 288


def test_gaps_are_dropped_and_pairs_are_kept_as_a_file(tmp_path):
    kept = prepare.clean(Context(artifact_dir=str(tmp_path)), [10.0, 10.5, None, 11.0, 11.5])
    assert kept == {"rows": 2}
    assert (tmp_path / "rows.csv").read_text() == "now,later\n10.0,10.5\n11.0,11.5\n"
