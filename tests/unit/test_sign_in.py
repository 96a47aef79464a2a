"""An address of NATS is read in one way: who signs in, what is shown of it, and what is left to runs."""

from __future__ import annotations

import pytest

from pyoco_server.config import Config, environment_for_runs
from pyoco_server.errors import InvalidSetting
from pyoco_server.sign_in import public

KNOWN = {"user": "user", "password": "se@cret"}


@pytest.mark.parametrize(
    ("urls", "shown", "told"),
    [
        ("nats://n1:4222", "nats://n1:4222", {}),
        ("n1:4222,tls://[::1]:4223", "nats://n1:4222,tls://[::1]:4223", {}),
        ("user:secret@n1:4222", "nats://n1:4222", {"user": "user", "password": "secret"}),
        ("nats://user:se@cret@n1:4222", "nats://n1:4222", KNOWN),
        ("user:se@cret@n1", "nats://n1", KNOWN),
        ("nats://user:se%40cret@n1:4222", "nats://n1:4222", KNOWN),
        ("TLS://user:se@cret@n1, n2:4222", "tls://n1,nats://n2:4222", KNOWN),
        ("n1, user:se@cret@n2 ,nats://user:se@cret@n3", "nats://n1,nats://n2,nats://n3", KNOWN),
        ("nats://user:s/e?c#r[et@n1", "nats://n1", {"user": "user", "password": "s/e?c#r[et"}),
        ("nats://t@ken@n1", "nats://n1", {"token": "t@ken"}),
        ("nats://@n1", "nats://n1", {}),
    ],
)
def test_who_signs_in_is_read_from_an_address_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, urls: str, shown: str, told: dict[str, str]
) -> None:
    config = Config.from_env({"PYOCO_NATS_URL": urls})
    assert config.sign_in.options(config.nats_url) == told
    assert public(urls) == shown
    monkeypatch.setenv("PYOCO_NATS_URL", urls)
    assert environment_for_runs()["PYOCO_NATS_URL"] == shown
    if told:
        with pytest.raises(InvalidSetting, match="a user or token in PYOCO_NATS_URL and PYOCO_NATS_TOKEN"):
            Config.from_env({"PYOCO_NATS_URL": urls, "PYOCO_NATS_TOKEN": "t"})


def test_several_users_contradict_each_other_however_they_are_written() -> None:
    with pytest.raises(InvalidSetting, match="several users") as caught:
        Config.from_env({"PYOCO_NATS_URL": "user:se@cret@n1,nats://user:other@n2"})
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "nats://me:s3@cr/et@host:port",
        "me:s3@cr/et@host:port",
        "http://me:s3@cr/et@host:4222",
        "//me:s3@cr/et@host:4222",
        "me:s3@cr/et@",
    ],
)
def test_an_address_that_is_none_shows_no_password(url: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        Config.from_env({"PYOCO_NATS_URL": url})
    assert not any(part in str(caught.value) for part in ("s3", "cr/et"))


@pytest.mark.parametrize("url", ["tls://n1", "TLS://n1", "n1,tls://n2"])
def test_an_address_that_asks_for_tls_is_heard(url: str) -> None:
    assert Config.from_env({}).sign_in.wants_tls(url)
    assert not Config.from_env({}).sign_in.wants_tls("nats://u:tls://@n1")
