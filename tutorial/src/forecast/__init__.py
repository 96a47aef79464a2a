"""A day of temperatures, prepared on a CPU machine, and what comes five minutes later, learnt on a GPU machine."""

from forecast import model, prepare


def register(registry):
    """Tell pyoco the names by which a flow.yaml uses the tasks."""
    registry.task(prepare.fetch, name="fetch_readings")
    registry.task(prepare.clean, name="clean_readings")
    registry.task(model.load, name="load_rows")
    registry.task(model.fit, name="fit_line")
    registry.task(model.baseline, name="same_as_before")
    registry.task(model.report, name="write_report")
