"""How requests go to a gateway and answers come back: one session, a timeout on each, errors as ours.

Source: contract, section 3.
"""

from __future__ import annotations

import threading
from contextlib import closing
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import requests
from requests.exceptions import (
    ConnectTimeout,
    InvalidSchema,
    InvalidURL,
    MissingSchema,
    RequestException,
    Timeout,
)

from pyoco_server.client.refusals import reason, refusal, was_refused
from pyoco_server.errors import GatewayRefused, GatewayUnreachable, InvalidInput

Self = TypeVar("Self", bound="Transport")

#: Machines that are reached without a proxy.
_LOOPBACK = ("http://127.0.0.1", "http://localhost", "http://[::1]")


class Transport:
    """The connections to one gateway; :class:`PyocoHttpClient` says what its parameters are."""

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        api_key_header: str = "X-API-Key",
        timeout_sec: float = 10.0,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout_sec = timeout_sec
        self._closed = threading.Event()
        self._session = requests.Session()
        # Whatever the environment says of a proxy, none is between a machine and itself.
        self._session.trust_env = not self._base_url.startswith(_LOOPBACK)
        if api_key is not None:
            header = header_text("API key header", api_key_header)
            self._session.headers[header] = header_text("API key", api_key)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Return the connections; works twice. A watch that waits for its next stream ends."""
        self._closed.set()
        self._session.close()

    def _object(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        answer = self._json(method, path, **request)
        if not isinstance(answer, dict):
            raise self._nonsense(method, path, "a JSON object was expected")
        return answer

    def _list(self, path: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self._json("GET", path, params=query)
        if not isinstance(answer, list):
            raise self._nonsense("GET", path, "a list was expected")
        return answer

    def _text(self, method: str, path: str) -> str:
        with closing(self._send(method, path, timeout=self._timeout_sec)) as answer:
            return answer.content.decode(errors="replace")

    def _json(self, method: str, path: str, **request: Any) -> Any:
        with closing(self._send(method, path, **{"timeout": self._timeout_sec, **request})) as answer:
            try:
                return answer.json()
            except ValueError as exc:
                raise self._nonsense(method, path, "JSON was expected") from exc

    def _send(
        self, method: str, path: str, *, timeout: float | tuple[float, float], **request: Any
    ) -> requests.Response:
        """Send a request; the caller closes the answer, which is a 2xx.

        Redirects are not followed: they would turn a POST into a GET and carry the API key to another host.
        """
        try:
            answer = self._session.request(
                method, self._base_url + path, timeout=timeout, allow_redirects=False, **request
            )
            if answer.ok and not answer.is_redirect:
                return answer
            with closing(answer):
                raise refusal(answer, method, path)
        except (InvalidSchema, InvalidURL, MissingSchema):
            raise GatewayUnreachable(
                f"{self._base_url!r} is not the address of a gateway; give one such as http://127.0.0.1:8000."
            ) from None
        except RequestException as exc:
            raise self._unreachable(method, exc) from exc

    def _unreachable(self, method: str, exc: RequestException) -> GatewayUnreachable:
        if isinstance(exc, ConnectTimeout):
            what = f"No connection to the gateway at {self._base_url} within {self._timeout_sec:g} s."
        elif isinstance(exc, Timeout):
            what = f"No answer from the gateway at {self._base_url} within {self._timeout_sec:g} s."
        else:
            what = f"No connection to the gateway at {self._base_url}: {reason(exc)}."
        never_sent = isinstance(exc, ConnectTimeout) or was_refused(exc)
        if method == "GET" or never_sent:
            return GatewayUnreachable(f"{what} Check the address and that the gateway runs.")
        return GatewayUnreachable(f"{what} The request may have been carried out: look before you repeat it.")

    def _nonsense(self, method: str, path: str, expected: str) -> GatewayRefused:
        detail = f"{expected}; is {self._base_url} the address of a Pyoco gateway?"
        return GatewayRefused(200, method, path, detail)


def header_text(what: str, value: str) -> str:
    """Check what is to be sent in a header.

    :raises InvalidInput: it has characters that HTTP cannot carry.
    """
    if not value or not value.isascii() or not value.isprintable() or value != value.strip():
        # The value stays out of the message: it may be a secret.
        raise InvalidInput(f"The {what} must be printable ASCII text without spaces around it.")
    return value


def segment(name: str, what: str = "run") -> str:
    """Give a name as one part of a path.

    :raises InvalidInput: it cannot be one.
    """
    if name in ("", ".", ".."):
        raise InvalidInput(f"{name!r} is not the id of a {what}.")
    return quote(name, safe="")


def given(**values: Any) -> dict[str, Any]:
    """Give the parameters that have a value."""
    return {name: value for name, value in values.items() if value is not None}
