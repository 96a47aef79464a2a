"""Downloads from a gateway that does not do what it should."""

from __future__ import annotations

import gzip
import hashlib
import io
from pathlib import Path

import pytest

from pyoco_server.client.http import PyocoHttpClient
from pyoco_server.errors import GatewayUnreachable
from tests.support.commands import reason, run
from tests.support.fake_gateway import Answer, FakeGateway, Handler, json_answer, text_answer


def cut(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "100")
    handler.end_headers()
    handler.wfile.write(b"half")
    handler.close_connection = True


@pytest.mark.parametrize("answer", [cut, text_answer("other bytes", ETag='"00"'), text_answer("no hash")])
def test_what_does_not_come_as_a_whole_is_not_taken_for_the_file(gateway: FakeGateway, answer: Answer) -> None:
    gateway.answers.append(answer)
    with PyocoHttpClient(gateway.url) as client, pytest.raises(GatewayUnreachable):
        client.download_artifact("r", "x", io.BytesIO())


def test_a_proxy_is_asked_not_to_compress_and_one_that_does_changes_nothing(gateway: FakeGateway) -> None:
    content = b"many words " * 100
    sha256 = hashlib.sha256(content).hexdigest()

    def compressed(handler: Handler) -> None:
        body = gzip.compress(content)
        handler.send_response(200)
        for name, value in {"Content-Encoding": "gzip", "ETag": f'W/"{sha256}"', "Content-Length": len(body)}.items():
            handler.send_header(name, str(value))
        handler.end_headers()
        handler.wfile.write(body)

    gateway.answers.append(compressed)
    file = io.BytesIO()
    with PyocoHttpClient(gateway.url) as client:
        assert client.download_artifact("r", "x", file) == sha256
    assert file.getvalue() == content
    assert gateway.requests[0].headers["accept-encoding"] == "identity"


def test_names_of_which_one_is_a_folder_of_another_are_refused_before_anything_is_written(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    sha256 = hashlib.sha256(b"x").hexdigest()
    names = {"a/b/c": 2, "a/b": 1, "other": 1}
    entries = [{"name": name, "attempt": attempt, "sha256": sha256} for name, attempt in names.items()]
    gateway.answers += [json_answer(entries), text_answer("x", ETag=f'"{sha256}"')]
    done = run("pyoco-client", "--server", gateway.url, "artifacts", "r", "--download", "d", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "'a/b' and 'a/b/c' cannot both be files" in reason(done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil"])
def test_names_of_a_hostile_gateway_lead_nowhere(gateway: FakeGateway, tmp_path: Path, name: str) -> None:
    entry = {"name": name, "attempt": 1, "sha256": "00"}
    gateway.answers += [json_answer([entry]), text_answer("evil")]
    done = run("pyoco-client", "--server", gateway.url, "artifacts", "r", "--download", "a/b", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "its name leaves the folder" in reason(done.stderr)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["a", "a/b"]
