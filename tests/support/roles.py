"""Permissions for the tests: users for each role, and one who may do everything for what the tests do themselves.

With ``PYOCO_TEST_PERMISSIONS=1`` any test has each of our commands sign in as the user of its role, and fails when the
server has refused one of them anything: ``PYOCO_TEST_PERMISSIONS=1 pytest tests/process/test_cancel.py``.
"""

from __future__ import annotations

import os

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
#: Nobody but the roles.
ROLES_CONF = server_text(Config.from_env({}), PASSWORDS)
#: Who does not sign in may do everything.
SERVER_CONF = ROLES_CONF.replace("users: [", "users: [\n    { user: test, password: test }", 1) + "no_auth_user: test\n"


def sign_in(role: str) -> dict[str, str]:
    """Give the settings of a program of this role."""
    return {"PYOCO_NATS_USER": user(role), "PYOCO_NATS_PASSWORD": PASSWORDS[role]}


def wanted(role: str | None) -> dict[str, str]:
    """The same where the whole run of tests is to be under permissions, else nothing."""
    return sign_in(role) if role and os.environ.get("PYOCO_TEST_PERMISSIONS") == "1" else {}
