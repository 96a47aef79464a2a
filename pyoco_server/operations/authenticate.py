"""Who asks: the API key of a request, and whose runs it gives access to.

Source: contract, section 3, "Auth"; design, section 8.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pyoco_server.config import Config
from pyoco_server.contract.keys import ApiKey
from pyoco_server.errors import ApiKeyInvalid, ApiKeyMissing, KeysUnknown
from pyoco_server.operations.secret_checks import SecretChecks
from pyoco_server.operations.sessions import Session
from pyoco_server.readmodel.keys import KeyTable, KnownKey


@dataclass(frozen=True)
class Caller:
    """Who makes a request.

    :param tenant_id: whose runs the caller sees and submits; ``None`` where no keys are asked for: all there are.
    :param known_key: the key as it was when the caller was let in.
    """

    tenant_id: str | None = None
    api_key_id: str | None = None
    may_write: bool = True
    known_key: KnownKey | None = field(default=None, repr=False)

    @property
    def signature(self) -> str | None:
        """How what the caller did is signed in a run; ``None`` for anybody."""
        return None if self.api_key_id is None else f"api_key:{self.api_key_id}"

    def sees(self, tenant_id: str | None) -> bool:
        """Say whether a run of this tenant exists for the caller; one without a tenant exists for no key."""
        return self.tenant_id is None or self.tenant_id == tenant_id


#: The caller where no keys are asked for.
ANYBODY = Caller()


class Authentication:
    """Lets requests in by their keys, or everybody where the settings ask for none.

    A key is only accepted on the newest word of NATS: while the connection is away, a revocation may have been
    missed, so nobody is let in, whatever was known of the key before.

    :param keys: followed by the read model.
    """

    def __init__(self, config: Config, keys: KeyTable, now: Callable[[], float] = time.time) -> None:
        self._asks_for_keys = config.asks_for_keys
        self._header = config.http_api_key_header
        self._pepper = config.auth_pepper
        self._keys = keys
        self._now = now
        self._checks = SecretChecks(lambda key, known: known.record.fits(key.secret, config.auth_pepper))

    def caller(self, text: str | None) -> Caller:
        """Give the holder of a key.

        :param text: the key as it was sent; ``None`` or empty when none was.
        :raises ApiKeyMissing: no key.
        :raises ApiKeyInvalid: wrong, revoked or expired.
        :raises KeysUnknown: nobody can say; safe to ask again.
        :raises TooManyKeyChecks: as before.
        """
        if not self._asks_for_keys:
            return ANYBODY
        if not text:
            raise ApiKeyMissing(self._header)
        key = ApiKey.parse(text)
        if key is None:
            raise ApiKeyInvalid
        while True:
            known = self._accepted(key.key_id)
            if not self._checks.is_right(key, known):
                raise ApiKeyInvalid
            # A check takes a while, in which the record may have changed.
            if self._accepted(key.key_id) is known:
                return _caller(known)

    def known_caller(self, text: str | None) -> Caller | None:
        """Give the holder of a key where nothing has to be computed for that; ``None`` says no more than this."""
        if not self._asks_for_keys:
            return ANYBODY
        key = ApiKey.parse(text) if text else None
        if key is None:
            return None
        try:
            known = self._accepted(key.key_id)
        except (ApiKeyInvalid, KeysUnknown):
            return None
        return _caller(known) if self._checks.is_known(key, known) else None

    def session(self, caller: Caller, *, expires_at: int) -> str | None:
        """Give the session of a caller who has just shown a key; ``None`` where no keys are asked for."""
        known = caller.known_key
        return None if known is None else str(Session.of(known.record, expires_at, pepper=self._pepper))

    def caller_of_session(self, text: str) -> Caller:
        """Give whose session it is.

        :raises ApiKeyMissing: forged, expired, or of a key that is accepted no more.
        :raises KeysUnknown: nobody can say; safe to ask again.
        """
        if not self._asks_for_keys:
            return ANYBODY
        session = Session.parse(text)
        if session is None:
            raise ApiKeyMissing(self._header)
        try:
            known = self._accepted(session.key_id)
        except ApiKeyInvalid:
            raise ApiKeyMissing(self._header) from None
        if not session.is_of(known.record, self._now(), pepper=self._pepper):
            raise ApiKeyMissing(self._header)
        return _caller(known)

    def may_stay(self, caller: Caller) -> bool:
        """Say whether a caller that was let in would be let in again, as far as is known now."""
        known = caller.known_key
        if known is None:
            return True
        record = known.record
        return self._keys.get(record.key_id) is known and record.is_accepted(self._now())

    @property
    def is_current(self) -> bool:
        """Whether every revocation is known that there was."""
        return self._keys.is_complete or not self._asks_for_keys

    def _accepted(self, key_id: str) -> KnownKey:
        if not self._keys.is_complete:
            raise KeysUnknown
        known = self._keys.get(key_id)
        if known is None or not known.record.is_accepted(self._now()):
            raise ApiKeyInvalid
        return known


def _caller(known: KnownKey) -> Caller:
    record = known.record
    return Caller(record.tenant_id, record.key_id, not record.is_read_only, known)
