"""How one signs in to NATS: who one is, and whom one takes for NATS.

Source: design, section 2.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from pyoco_server.errors import InvalidSetting

_SCHEME = re.compile(r"(nats|tls|wss?)://", re.IGNORECASE)
#: A seed of a user's NKey.
_SEED = re.compile(r"SU[A-Z2-7]{56}")
_JWT_MARK = "BEGIN NATS USER JWT"


@dataclass(frozen=True)
class Address:
    """Where a server of NATS answers, and who one is there.

    :param scheme: in small letters, with its slashes.
    :param user: a token, or a user and a password, each with ``%40`` and the like in it; empty = it names nobody.
    :param place: host and port.
    """

    scheme: str
    user: str
    place: str

    @property
    def url(self) -> str:
        """The address without the user."""
        return f"{self.scheme}{self.place}"


@dataclass(frozen=True)
class SignIn:
    """What a process shows to NATS, and by what it knows NATS; what is empty is not used.

    :param creds: file with a user's JWT and seed as ``nsc`` writes it, or with the seed of an NKey alone.
    :param tls_ca: file with the certificates of who vouches for NATS; empty = those that the machine trusts.
    :param tls_cert: file with the certificate that this process shows, and in ``tls_key`` its key.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    creds: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    def wants_tls(self, urls: str) -> bool:
        """Say whether nothing may be told to a server without TLS."""
        return bool(self.tls_ca or self.tls_cert) or any(address.scheme == "tls://" for address in addresses(urls))

    @property
    def is_nkey(self) -> bool:
        """Whether the file of credentials is the seed of an NKey alone.

        :raises InvalidSetting: it is none of both.
        """
        text = _read("PYOCO_NATS_CREDS", self.creds)
        if _JWT_MARK not in text and not _SEED.fullmatch(text.strip()):
            raise InvalidSetting(
                f"PYOCO_NATS_CREDS={self.creds!r} is neither a file of credentials, with a JWT and a seed, as nsc "
                "writes it, nor the seed of an NKey of a user (SU…)."
            )
        return _JWT_MARK not in text

    def check(self, urls: str) -> None:
        """Refuse what contradicts itself, and files that cannot be used.

        :param urls: the addresses of NATS, in which a user and password may stand.
        :raises InvalidSetting: with the variables named.
        """
        in_urls = _users(urls)
        if len(in_urls) > 1:
            raise InvalidSetting(
                "PYOCO_NATS_URL names several users. Servers of one cluster know the same: name it once."
            )
        ways = {
            "a user or token in PYOCO_NATS_URL": bool(in_urls),
            "PYOCO_NATS_USER": bool(self.user),
            "PYOCO_NATS_TOKEN": bool(self.token),
            "PYOCO_NATS_CREDS": bool(self.creds),
        }
        used = [way for way, is_used in ways.items() if is_used]
        if len(used) > 1:
            raise InvalidSetting(f"{' and '.join(used)} cannot be used together: each of them is a way to sign in.")
        _check_pair("PYOCO_NATS_USER", self.user, "PYOCO_NATS_PASSWORD", self.password)
        _check_pair("PYOCO_NATS_TLS_CERT", self.tls_cert, "PYOCO_NATS_TLS_KEY", self.tls_key)
        if self.creds:
            _ = self.is_nkey
        self.tls()

    def tls(self) -> ssl.SSLContext | None:
        """Give what TLS is to be made with; ``None`` where no file says anything about it.

        :raises InvalidSetting: a file cannot be read or used.
        """
        if not self.tls_ca and not self.tls_cert:
            return None
        if self.tls_ca:
            _read("PYOCO_NATS_TLS_CA", self.tls_ca)
        try:
            context = ssl.create_default_context(cafile=self.tls_ca or None)
        except (ssl.SSLError, OSError) as exc:
            raise InvalidSetting(f"PYOCO_NATS_TLS_CA={self.tls_ca!r} holds no certificate in PEM: {exc}.") from exc
        if self.tls_cert:
            _read("PYOCO_NATS_TLS_CERT", self.tls_cert)
            if "ENCRYPTED" in _read("PYOCO_NATS_TLS_KEY", self.tls_key):
                # OpenSSL would ask for it on the terminal.
                raise InvalidSetting(f"PYOCO_NATS_TLS_KEY={self.tls_key!r} has a passphrase: take it off.")
            try:
                context.load_cert_chain(self.tls_cert, self.tls_key)
            except (ssl.SSLError, OSError) as exc:
                raise InvalidSetting(
                    f"PYOCO_NATS_TLS_CERT={self.tls_cert!r} and PYOCO_NATS_TLS_KEY={self.tls_key!r} are no certificate "
                    f"with its key in PEM: {exc}."
                ) from exc
        return context

    def options(self, urls: str) -> dict[str, str]:
        """Give what is shown to NATS, as nats-py calls it.

        :param urls: the addresses; what stands in them wins, and holds for all servers of the cluster.
        """
        user = next(iter(_users(urls)), "")
        if user:
            name, colon, password = user.partition(":")
            return {"user": unquote(name), "password": unquote(password)} if colon else {"token": unquote(name)}
        if self.user:
            return {"user": self.user, "password": self.password}
        if self.token:
            return {"token": self.token}
        if self.creds:
            return {"nkeys_seed" if self.is_nkey else "user_credentials": self.creds}
        return {}


def addresses(urls: str) -> list[Address]:
    """Read the addresses of NATS, separated by commas; one that names no scheme is one of ``nats://``.

    A password may have a ``@`` in it, and no comma. Text that is no address gives some place or other.
    """
    return [_address(url.strip()) for url in urls.split(",")]


def public(urls: str) -> str:
    """Give addresses without the users, passwords and tokens that may stand in them."""
    return ",".join(address.url for address in addresses(urls))


def _address(url: str) -> Address:
    named = _SCHEME.match(url)
    user, _, place = url[named.end() if named else 0 :].rpartition("@")
    return Address(named[0].lower() if named else "nats://", user, place)


def _users(urls: str) -> set[str]:
    return {address.user for address in addresses(urls) if address.user}


def _check_pair(one: str, first: str, other: str, second: str) -> None:
    if bool(first) != bool(second):
        given, missing = (one, other) if first else (other, one)
        raise InvalidSetting(f"{given} needs {missing}, which is not set. Set both or none.")


def _read(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as exc:
        raise InvalidSetting(f"{name}={path!r} cannot be read: {exc.strerror}.") from exc
