"""The client's calls of the wheel registry.

Source: contract, section 3, rows ``/wheels``.
"""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Callable, Sequence
from typing import IO, Any

from pyoco_server.client.transport import Transport, given, segment
from pyoco_server.errors import InvalidInput

#: How long a gateway may take to check a large wheel and to store it.
UPLOAD_TIMEOUT_SEC = 600.0


class WheelCalls(Transport):
    """List, upload and delete wheels, and read what was done with them."""

    def list_wheels(self) -> list[dict[str, Any]]:
        """List the wheels, by name (``GET /wheels``).

        :return: of each ``{name, size_bytes, bucket, nuid, modified, mtime, digest, sha256_b64, sha256_hex, tags}``;
            ``modified`` is unix seconds, ``mtime`` the same as text.
        :raises GatewayRefused: with status 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._list("/wheels", {})

    def list_wheel_history(
        self, *, limit: int | None = None, wheel_name: str | None = None, action: str | None = None
    ) -> list[dict[str, Any]]:
        """List uploads and deletes, newest first (``GET /wheels/history``).

        :param limit: 1 to 500; the gateway's 100 when ``None``.
        :param wheel_name: file name of a wheel; any when ``None``.
        :param action: ``upload`` or ``delete``; both when ``None``.
        :return: of each ``{event_id, occurred_at, action, wheel_name, tags, size_bytes, sha256_hex, replace, actor,
            source}``.
        :raises GatewayRefused: with status 422 for a value out of its range, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._list("/wheels/history", given(limit=limit, wheel_name=wheel_name, action=action))

    def upload_wheel(
        self,
        *,
        filename: str,
        data: bytes | IO[bytes],
        replace: bool = True,
        tags: Sequence[str] | None = None,
        progress: Callable[[int], None] = lambda sent: None,
    ) -> dict[str, Any]:
        """Upload a wheel (``POST /wheels``).

        :param filename: its name as a wheel: ``package-version-py3-none-any.whl``.
        :param data: its bytes, or a seekable file, which is sent piece by piece.
        :param replace: noted in the history, no more: no version is ever replaced.
        :param tags: routing tags of the workers that it is for; for all when there are none.
        :param progress: called with the bytes that have been sent so far.
        :return: the entry, as in :meth:`list_wheels`.
        :raises InvalidInput: a file name that none can have, or tags that are no list; nothing was sent.
        :raises GatewayRefused: with status 409 when the package has this version or a newer one, 413 for too large, 422
            with what is wrong with the wheel, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; the wheel may have been stored, so look before you repeat.
        """
        if isinstance(tags, str):
            # Its letters would become tags.
            raise InvalidInput(f"The tags of a wheel are a list of texts, not {tags!r}.")
        fields = {"replace": "true" if replace else "false", "tags": ",".join(tags or ())}
        file = io.BytesIO(data) if isinstance(data, bytes) else data
        body = _Form(fields, "wheel", filename, file, progress)
        headers = {"Content-Type": body.content_type}
        timeouts = (self._timeout_sec, max(self._timeout_sec, UPLOAD_TIMEOUT_SEC))
        return self._object("POST", "/wheels", data=body, headers=headers, timeout=timeouts)

    def delete_wheel(self, wheel_name: str) -> dict[str, Any]:
        """Delete a wheel (``DELETE /wheels/{name}``); workers let go of it before their next run.

        :return: ``{name, deleted}``.
        :raises GatewayRefused: with status 404 where there is no such wheel, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._object("DELETE", f"/wheels/{segment(wheel_name, 'wheel')}")


class _Form:
    """A form with a file, read while it is sent: requests would put all of it into memory."""

    def __init__(
        self, fields: dict[str, str], name: str, filename: str, file: IO[bytes], progress: Callable[[int], None]
    ) -> None:
        if any(char in '"\\' or not char.isprintable() for char in filename):
            raise InvalidInput(f"{filename!r} is not the name of a wheel.")
        boundary = uuid.uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
            for field, value in fields.items()
        )
        head += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        head += "Content-Type: application/octet-stream\r\n\r\n"
        self._parts: list[IO[bytes]] = [io.BytesIO(head.encode()), file, io.BytesIO(f"\r\n--{boundary}--\r\n".encode())]
        self._size = sum(part.seek(0, os.SEEK_END) for part in self._parts)
        for part in self._parts:
            part.seek(0)
        self._file, self._progress = file, progress

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        while self._parts:
            if piece := self._parts[0].read(size):
                if self._parts[0] is self._file:
                    self._progress(self._file.tell())
                return piece
            self._parts.pop(0)
        return b""
