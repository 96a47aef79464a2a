"""Certificates of a test: who vouches, a server at 127.0.0.1, and a client; made by the program ``openssl``."""

from __future__ import annotations

import subprocess
from pathlib import Path

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]


class Certificates:
    """PEM files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, _ = self.make("ca", "-x509", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self.server, self.server_key = self.signed("server", "subjectAltName=IP:127.0.0.1")
        self.client, self.client_key = self.signed("client", "extendedKeyUsage=clientAuth")

    def make(self, name: str, *flags: str) -> tuple[Path, Path]:
        """Make one that vouches for itself, or with other flags a request for one; gives it and its key."""
        out, key = self._folder / f"{name}.pem", self._folder / f"{name}-key.pem"
        self._openssl("req", *flags, *_KEY, "-subj", f"/CN={name}", "-out", str(out), "-keyout", str(key))
        return out, key

    def signed(self, name: str, extension: str) -> tuple[Path, Path]:
        """Make one for which the first vouches."""
        request, key = self.make(f"{name}-request")
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(extension)
        out = self._folder / f"{name}.pem"
        ca = ["-CA", str(self.ca), "-CAkey", str(self._folder / "ca-key.pem"), "-CAcreateserial", "-days", "2"]
        self._openssl("x509", "-req", "-in", str(request), *ca, "-extfile", str(extensions), "-out", str(out))
        return out, key

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=60)
