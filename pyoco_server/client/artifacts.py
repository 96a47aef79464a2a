"""The client's calls of the files that runs have saved."""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import IO, Any
from urllib.parse import quote

from requests.exceptions import RequestException

from pyoco_server.client.transport import Transport, given, segment
from pyoco_server.errors import GatewayUnreachable, InvalidInput

_READ_BYTES = 65_536


class ArtifactCalls(Transport):
    """List and download the files that the tasks of a run have saved."""

    def get_artifacts(self, run_id: str) -> list[dict[str, Any]]:
        """List the files of a run (``GET /runs/{run_id}/artifacts``).

        :return: of each ``{name, attempt, task, size_bytes, content_type, sha256, created_at}``, by attempt, the newest
            first, and by name; ``task`` is ``None`` where nobody knows which one has saved it.
        :raises GatewayRefused: with status 404 where there is no such run, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._list(f"/runs/{segment(run_id)}/artifacts", {})

    def download_artifact(self, run_id: str, name: str, file: IO[bytes], *, attempt: int | None = None) -> str:
        """Write the bytes of a file to another one (``GET /runs/{run_id}/artifacts/{name}``), piece by piece.

        :param name: as :meth:`get_artifacts` lists it; it may hold slashes.
        :param file: open for writing; what has come stands there also when the rest does not come.
        :param attempt: the newest that has the file when ``None``.
        :return: the sha256 of the bytes, which is right, hexadecimal.
        :raises InvalidInput: a name that no file can have; nothing was sent.
        :raises GatewayRefused: with status 404 where there is no such file, or it is not kept any more, 503 while NATS
            is away.
        :raises GatewayUnreachable: no answer, or not all of it; safe to repeat.
        """
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise InvalidInput(f"{name!r} is not the name of a file of a run.")
        path = f"/runs/{segment(run_id)}/artifacts/{quote(name)}"
        digest = hashlib.sha256()
        # A proxy that compresses would send other bytes than those that the hash is of.
        as_it_is = {"Accept-Encoding": "identity"}
        answer = self._send(
            "GET", path, timeout=self._timeout_sec, stream=True, params=given(attempt=attempt), headers=as_it_is
        )
        with closing(answer):
            try:
                for piece in answer.iter_content(_READ_BYTES):
                    digest.update(piece)
                    file.write(piece)
            except RequestException as exc:
                raise self._unreachable("GET", exc) from exc
        # One that compresses all the same says that its bytes may differ (RFC 9110, section 8.8.1).
        if answer.headers.get("ETag", "").removeprefix("W/").strip('"') != digest.hexdigest():
            raise GatewayUnreachable(f"Not all of {name} has come from {self._base_url}. Try again.")
        return digest.hexdigest()
