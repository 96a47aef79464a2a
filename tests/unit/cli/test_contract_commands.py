"""Every command, flag and value that users of 0.5.1 have in their scripts is accepted (contract, section 5)."""

from __future__ import annotations

import argparse

import pytest

from pyoco_server.cli import admin, client, server, worker

_CONNECTION = "--server http://127.0.0.1:8000 --api-key k --api-key-header X-API-Key"
_UP = (
    "--host 127.0.0.1 --port 8000 --log-level DEBUG --nats-url nats://h:4222 --dashboard-lang ja "
    "--with-nats-bootstrap --nats-listen-host 127.0.0.1 --nats-client-port 4222 --nats-http-port 8222"
)
_WITH_WORKER = "--with-worker --worker-id w --worker-tags a,b --worker-flow-resolver m:f --worker-poll-timeout 1"


@pytest.mark.parametrize("words", ["", "up", _UP, f"up {_UP}", f"up {_WITH_WORKER}", "up --dashboard-lang auto"])
def test_server(words: str) -> None:
    args = server.parse(words.split())
    assert args.command == "up"
    assert args.host == "127.0.0.1"


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--nats-url nats://h:4222 --tags a,b --worker-id w --flow-resolver m:f --poll-timeout 0.5 --run-once",
        "--flow-resolver file.py:f --wheel-sync --wheel-sync-dir d --wheel-sync-interval-sec 1.5",
        "--no-wheel-sync --wheel-install-timeout-sec 60",
    ],
)
def test_worker(words: str) -> None:
    assert worker.get_parser().parse_args(words.split())


@pytest.mark.parametrize(
    "words",
    [
        "submit",
        "submit --flow-name main --params {} --params-file f --param k=v --param j=w --tag t --tags a,b",
        "submit-yaml --workflow-file f --flow-name main --tag t",
        "get ID",
        "get ID --records",
        "tasks ID",
        "list --status RUNNING --flow f --tag t --full --limit 5 --output table",
        "list --output json",
        "list-vnext --status RUNNING --flow f --tag t --full --limit 5 --output table",
        "list-vnext --updated-after 1.5 --cursor c --workflow-yaml-sha256 0",
        "watch ID --records --since 1.5 --timeout-sec 5 --max-events 3 --until-terminal --output status",
        "watch ID --max-events 0 --output json",
        "cancel --run-id ID",
        "cancel --run-id ID --wait --timeout-sec 30",
        "workers --scope all --state DISCONNECTED --include-hidden --limit 5 --output plugins",
        "workers --scope active --state STOPPED_GRACEFUL --output table",
        "metrics",
        "wheels",
        "wheel-history --limit 5 --wheel-name n --action upload",
        "wheel-upload --wheel-file f --tags a,b --replace --preflight strict",
        "wheel-upload --wheel-file f --no-replace --preflight warn --allow-no-entry-points --allow-missing-usage-doc",
        "wheel-upload --wheel-file f --preflight off",
        "wheel-delete --name n",
    ],
)
@pytest.mark.parametrize("connection", ["", _CONNECTION])
def test_client(words: str, connection: str) -> None:
    args = client.get_parser().parse_args([*connection.split(), *words.split()])
    assert (args.server, args.api_key_header) == ("http://127.0.0.1:8000", "X-API-Key")


@pytest.mark.parametrize(
    "words", ["api-key create --tenant T", "api-key list", "api-key revoke --key-id K", "--nats-url u api-key list"]
)
def test_admin(words: str) -> None:
    assert admin.get_parser().parse_args(words.split())


@pytest.mark.parametrize(
    ("args", "defaults"),
    [
        (server.parse([]), {"nats_listen_host": "127.0.0.1", "with_nats_bootstrap": False, "with_worker": False}),
        (worker.get_parser().parse_args([]), {"concurrency": 1, "run_once": False, "wheel_sync": None}),
        (client.get_parser().parse_args(["submit"]), {"flow_name": "main"}),
        (client.get_parser().parse_args(["list"]), {"output": "json", "full": False}),
        (client.get_parser().parse_args(["cancel", "--run-id", "r"]), {"wait": False, "timeout_sec": 30}),
        (client.get_parser().parse_args(["workers"]), {"output": "json", "include_hidden": False}),
        (
            client.get_parser().parse_args(["wheel-upload", "--wheel-file", "f"]),
            {"replace": True, "preflight": "strict", "allow_no_entry_points": False, "allow_missing_usage_doc": False},
        ),
    ],
    ids=["up", "worker", "submit", "list", "cancel", "workers", "wheel-upload"],
)
def test_defaults(args: argparse.Namespace, defaults: dict[str, object]) -> None:
    assert {name: getattr(args, name) for name in defaults} == defaults
