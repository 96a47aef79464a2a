"""Where the file of a form is kept while its request is served."""

from __future__ import annotations

import io
import tempfile
from typing import IO, Any

from flask import Request

#: Larger forms are kept on the disk.
_MAX_IN_MEMORY_BYTES = 512 * 1024


class UploadRequest(Request):
    """A request whose files can be read at any place, as archives are.

    What werkzeug takes by itself, a spooled file, does not say so before Python 3.11, and zipfile asks.
    """

    #: Each file of a large form is an open one here, and a form of ours has one beside some fields.
    max_form_parts = 64

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._streams: list[IO[bytes]] = []

    def close(self) -> None:
        """Close the files, also those of a form that was refused in its middle, which werkzeug has lost."""
        super().close()
        for stream in self._streams:
            stream.close()

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        is_small = total_content_length is not None and total_content_length <= _MAX_IN_MEMORY_BYTES
        self._streams.append(io.BytesIO() if is_small else tempfile.TemporaryFile())
        return self._streams[-1]
