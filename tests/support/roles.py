"""Permissions for the tests: users for each role, and one who may do everything for what the tests do themselves.

With ``PYOCO_TEST_PERMISSIONS=1`` a test has each of our commands sign in as the user of its role, and fails when the
server has refused one of them anything; ``make test-permissions`` runs the files that use most of what NATS can be
asked. The tests of permissions and of doctor are not among them, for they sign in as roles in either mode. Some cannot
run so: where no gateway has made the streams a worker waits for one, and nodes may know users of their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.operations.permissions_folder import server_text, user

PASSWORDS = {role: f"password-of-{role}" for role in names.ROLES}
#: What a command is on NATS.
ROLE_OF = {
    "pyoco-server": names.GATEWAY_ROLE,
    "pyoco-worker": names.WORKER_ROLE,
    "pyoco-server-admin": names.ADMIN_ROLE,
    "pyoco-nats": names.ADMIN_ROLE,
}
#: How settings begin that say how to sign in.
_WAYS = ("PYOCO_NATS_USER", "PYOCO_NATS_TOKEN", "PYOCO_NATS_CREDS", "PYOCO_NATS_TLS_CERT")
#: Nobody but the roles.
ROLES_CONF = server_text(Config.from_env({}), PASSWORDS)
#: Who does not sign in may do everything.
SERVER_CONF = ROLES_CONF.replace("users: [", "users: [\n    { user: test, password: test }", 1) + "no_auth_user: test\n"


def sign_in(role: str) -> dict[str, str]:
    """Give the settings of a program of this role."""
    return {"PYOCO_NATS_USER": user(role), "PYOCO_NATS_PASSWORD": PASSWORDS[role]}


def are_wanted() -> bool:
    """Say whether tests are to be under permissions."""
    return os.environ.get("PYOCO_TEST_PERMISSIONS") == "1"


def wanted(role: str | None, env: Mapping[str, str], flags: Sequence[str] = ()) -> dict[str, str]:
    """The same where tests are to be under permissions, else nothing.

    :param env: settings of the program; one that is told there, or by its flags, how to sign in does so.
    """
    addresses = [env.get("PYOCO_NATS_URL", ""), *flags]
    is_told = any("@" in address for address in addresses) or any(name.startswith(_WAYS) for name in env)
    if role is None or is_told or not are_wanted():
        return {}
    return sign_in(role)
