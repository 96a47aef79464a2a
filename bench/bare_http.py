"""The raw limit of HTTP: a Flask application on waitress that reads JSON and answers JSON. ``python -m bench.bare_http
PORT``"""

from __future__ import annotations

import sys
import uuid
from typing import Any

import waitress
from flask import Flask, request

app = Flask(__name__)


@app.post("/runs")
def submit() -> dict[str, Any]:
    request.get_json()
    return {"run_id": str(uuid.uuid4()), "status": "PENDING"}


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


if __name__ == "__main__":
    waitress.serve(app, host="127.0.0.1", port=int(sys.argv[1]), threads=32)
