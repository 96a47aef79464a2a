"""Where the file of a form is kept while its request is served."""

from __future__ import annotations

import io
import tempfile
from typing import IO

from flask import Request

#: Larger forms are kept on the disk.
_MAX_IN_MEMORY_BYTES = 512 * 1024


class UploadRequest(Request):
    """A request whose files can be read at any place, as archives are.

    What werkzeug takes by itself, a spooled file, does not say so before Python 3.11, and zipfile asks.
    """

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        if total_content_length is not None and total_content_length <= _MAX_IN_MEMORY_BYTES:
            return io.BytesIO()
        return tempfile.TemporaryFile()
