"""What is done on the GPU machine: a line is fitted to the rows of a day and compared with the simplest forecast.

The arithmetic is plain Python, so that the tutorial runs anywhere. In your own package it is torch or jax, which is
installed in the environment of the GPU machine's worker.
"""

import csv
import urllib.request

from forecast.device import find_device

EPOCHS = 200
#: Of the mean error's slope, taken back in each epoch.
RATE = 0.5


def load(rows):
    """Fetch the file that the other run has kept.

    :param rows: its address on the gateway.
    """
    with urllib.request.urlopen(rows, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    pairs = [[float(row["now"]), float(row["later"])] for row in csv.DictReader(lines)]
    print(f"{len(pairs)} rows from {rows}")
    return pairs


def fit(load):
    """Fit a line to the pairs by gradient descent, and give its mean error in degrees."""
    device = find_device()
    print(f"fitting on {device}")
    degrees = [now for now, _ in load]
    lowest, spread = min(degrees), max(degrees) - min(degrees)
    # Gradient descent goes well where all numbers lie between 0 and 1.
    scaled = [((now - lowest) / spread, (later - lowest) / spread) for now, later in load]
    slope = offset = 0.0
    for epoch in range(1, EPOCHS + 1):
        wrong = [(slope * now + offset - later, now) for now, later in scaled]
        slope -= RATE * sum(by * now for by, now in wrong) / len(wrong)
        offset -= RATE * sum(by for by, _ in wrong) / len(wrong)
        if epoch % 50 == 0:
            print(f"epoch {epoch}: {_mean(abs(by) for by, _ in wrong) * spread:.3f} degrees")
    error = _mean(abs(slope * now + offset - later) for now, later in scaled) * spread
    return {"device": device, "slope": slope, "error": round(error, 3)}


def baseline(load):
    """Give the mean error of the simplest forecast: in five minutes it is as warm as now."""
    return {"error": round(_mean(abs(later - now) for now, later in load), 3)}


def report(ctx, fit, baseline, day):
    """Keep both errors as a text for people."""
    lines = [
        f"# Forecast of {day}",
        "",
        f"fitted on {fit['device']}",
        f"line: {fit['error']} degrees",
        f"same as before: {baseline['error']} degrees",
    ]
    ctx.save_artifact("report.md", "\n".join(lines) + "\n")
    return "line" if fit["error"] < baseline["error"] else "same as before"


def _mean(numbers):
    found = list(numbers)
    return sum(found) / len(found)
