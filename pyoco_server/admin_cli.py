"""``python -m pyoco_server.admin_cli``: the command ``pyoco-server-admin``, under the name that 0.5.1 gave it."""

from pyoco_server.cli.admin import main

__all__ = ["main"]

if __name__ == "__main__":
    raise SystemExit(main())
