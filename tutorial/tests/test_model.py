"""The tasks of the GPU machine, called as the functions that they are; they do not need one here."""

from pyoco.core.context import Context

from forecast import model


def test_rows_are_read_from_their_address(tmp_path):
    (tmp_path / "rows.csv").write_text("now,later\n10.0,10.5\n")
    assert model.load((tmp_path / "rows.csv").as_uri()) == [[10.0, 10.5]]


def test_a_line_is_found():
    found = model.fit([[float(now), 0.5 * now + 3] for now in range(20)])
    assert abs(found["slope"] - 0.5) < 0.01
    assert found["error"] < 0.1


def test_the_report_names_the_better_forecast(tmp_path):
    fitted = {"device": "cpu", "slope": 1.0, "error": 0.1}
    assert model.report(Context(artifact_dir=str(tmp_path)), fitted, {"error": 0.2}, "2026-11-02") == "line"
    assert "line: 0.1 degrees\n" in (tmp_path / "report.md").read_text()
