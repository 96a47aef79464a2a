"""``pyoco-server-admin``: API keys and the state of an installation, with no gateway running: it speaks to NATS itself.

Source: contract, section 5.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyoco_server.cli.completion import PrintCompletion
from pyoco_server.cli.epilogs import ENV_FILE_HELP, environment, listed
from pyoco_server.cli.exits import EXIT_DONE, EXIT_NOT_FOUND, CommandParser, ShowVersion, command
from pyoco_server.cli.health import HEALTH_STATUS, add_doctor, add_status
from pyoco_server.cli.nats_access import Action, add_nats_url, carry_out, connected
from pyoco_server.cli.subcommands import add_subcommand, print_json

if TYPE_CHECKING:
    from pyoco_server.config import Config

PROG = "pyoco-server-admin"

_EPILOG = f"""\
It writes straight into NATS, so it works with no gateway running. Answers are JSON on stdout, one document on one line;
errors go to stderr; status and doctor print for eyes unless --json is given. --nats-url may also stand after the
subcommand.

examples:
  {PROG} api-key create --tenant acme
  {PROG} api-key list
  {PROG} api-key revoke --key-id KEY_ID
  {PROG} status
  {PROG} doctor --fix
  {PROG} --print-completion bash >~/.local/share/bash-completion/completions/{PROG}

"""
_EXIT_STATUS = {
    "0": "it did what it was asked",
    "1": "it could not, for a bad argument or because no NATS server answers; stderr says why",
    "2": "there is no such key (api-key revoke)",
    **HEALTH_STATUS,
    "130": "Ctrl-C",
}
_VARIABLES = ("PYOCO_NATS_URL", "PYOCO_AUTH_PEPPER", "PYOCO_AUTH_KV_BUCKET", "PYOCO_NATS_REPLICAS", "PYOCO_LOG_LEVEL")

_KEYS_EPILOG = f"""\
examples:
  {PROG} api-key create --tenant acme --expires 30d
  {PROG} api-key list
  {PROG} api-key revoke --key-id KEY_ID
"""

_CREATE_EPILOG = f"""\
It prints {{key_id, tenant_id, api_key, created_at}}, and the limits of a key that has any. The key is shown this once:
what is stored is a hash of it. A key that is limited (--read-only, --expires) is refused by gateways of 0.5.1, which
would not heed its limits.

examples:
  {PROG} api-key create --tenant acme
  {PROG} api-key create --tenant acme | jq -r .api_key
  {PROG} api-key create --tenant acme --read-only --expires 30d
  {PROG} api-key create --tenant acme --expires 2030-01-31T12:00:00+09:00
"""

_LIST_EPILOG = f"""\
It prints an array of {{key_id, tenant_id, created_at, revoked_at}}, with read_only and expires_at where a key has
limits.

examples:
  {PROG} api-key list
  {PROG} api-key list | jq -r '.[] | select(.revoked_at == null) | .key_id'
"""

_REVOKE_EPILOG = f"""\
It prints {{key_id, revoked_at}}, or {{error, key_id}} with status 2 where there is no such key. A key that is revoked
already keeps the time of its first revocation.

examples:
  {PROG} api-key revoke --key-id KEY_ID
  {PROG} api-key revoke --key-id=-KEY_ID      an id that begins with -
"""


def get_parser() -> CommandParser:
    """Give the parser; its namespace has ``run``, an :data:`Action`, and ``fail``, the parser's ``error``."""
    parser = CommandParser(
        prog=PROG,
        description="Administer a Pyoco installation: the API keys of its gateways, and what it holds in NATS.",
        epilog="\n".join(
            (
                _EPILOG + listed("exit status", _EXIT_STATUS),
                environment(*_VARIABLES),
                listed("files", {".env": ENV_FILE_HELP}),
            )
        ),
        example=f"{PROG} api-key list",
    )
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("--print-completion", action=PrintCompletion)
    add_nats_url(parser, is_top=True)
    nouns = parser.add_subparsers(dest="noun", required=True, metavar="COMMAND")
    keys = nouns.add_parser(
        "api-key",
        help="create, list and revoke API keys",
        description="Create, list and revoke API keys.",
        epilog=_KEYS_EPILOG,
        example=f"{PROG} api-key list",
    )
    add_nats_url(keys)
    commands = keys.add_subparsers(dest="command", required=True, metavar="COMMAND")
    create = _add_command(commands, "create", _create, "make a key for a tenant and show it", _CREATE_EPILOG)
    create.add_argument("--tenant", required=True, metavar="T", help="tenant whose runs the key gives access to")
    create.add_argument("--read-only", action="store_true", help="the key may only read (GET and HEAD)")
    create.add_argument(
        "--expires",
        metavar="WHEN",
        help="the key is refused from then on: after hours, days or weeks (12h, 30d, 8w), from a date or time on "
        "(2030-01-31, 2030-01-31T12:00:00Z; UTC unless it names an offset), or unix seconds (default: never)",
    )
    _add_command(commands, "list", _list, "list all keys, newest first", _LIST_EPILOG)
    revoke = _add_command(commands, "revoke", _revoke, "have a key refused from now on", _REVOKE_EPILOG)
    revoke.add_argument("--key-id", required=True, metavar="K", help="key_id of the key, as create and list print it")
    for add in (add_status, add_doctor):
        add_nats_url(add(nouns, PROG))
    return parser


@command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: the arguments without the command's name; the process's own when ``None``.
    :return: the exit status.
    """
    args = get_parser().parse_args(argv)
    return carry_out(args)


def _add_command(
    commands: argparse._SubParsersAction[CommandParser], name: str, run: Action, help: str, epilog: str
) -> CommandParser:
    parser = add_subcommand(commands, name, run, help, epilog)
    add_nats_url(parser)
    return parser


def _create(args: argparse.Namespace, config: Config) -> int:
    from pyoco_server.bridge.resources import ensure_bucket
    from pyoco_server.cli.expiry import read_expiry
    from pyoco_server.contract.keys import ApiKey, KeyRecord, is_tenant
    from pyoco_server.stores.keys import KeyStore

    if not is_tenant(args.tenant):
        args.fail(f"--tenant: {args.tenant!r} is not a tenant: letters, digits, '_' and '-', 64 at most")
    now = time.time()
    expires_at = None
    if args.expires is not None:
        try:
            expires_at = read_expiry(args.expires, now)
        except ValueError as exc:
            args.fail(f"--expires: {exc}")
    key = ApiKey.generate()
    record = KeyRecord.of(
        key, args.tenant, pepper=config.auth_pepper, now=now, is_read_only=args.read_only, expires_at=expires_at
    )
    with connected(config, PROG) as bus:
        ensure_bucket(bus, config, config.auth_kv_bucket)
        KeyStore(bus, config).create(record)
    print_json(
        {
            "key_id": record.key_id,
            "tenant_id": record.tenant_id,
            "api_key": key.text,
            "created_at": record.created_at,
            **record.limits,
        }
    )
    return EXIT_DONE


def _list(args: argparse.Namespace, config: Config) -> int:
    from pyoco_server.stores.keys import KeyStore

    with connected(config, PROG) as bus:
        records = KeyStore(bus, config).all()
    shown = ("key_id", "tenant_id", "created_at", "revoked_at")
    print_json([{**{name: getattr(record, name) for name in shown}, **record.limits} for record in records])
    return EXIT_DONE


def _revoke(args: argparse.Namespace, config: Config) -> int:
    from pyoco_server.contract.keys import ApiKey, is_key_id
    from pyoco_server.stores.keys import KeyStore

    key = ApiKey.parse(args.key_id)
    if key is not None:
        # The secret is not repeated: stderr may be kept.
        args.fail(f"--key-id: that is a whole key; its key_id is {key.key_id}")
    if not is_key_id(args.key_id):
        args.fail(f"--key-id: {args.key_id!r} is not a key_id: letters, digits, '_' and '-', 8 to 64 of them")
    with connected(config, PROG) as bus:
        record = KeyStore(bus, config).revoke(args.key_id, now=time.time())
    if record is None:
        print_json({"error": "not_found", "key_id": args.key_id})
        return EXIT_NOT_FOUND
    print_json({"key_id": record.key_id, "revoked_at": record.revoked_at})
    return EXIT_DONE
