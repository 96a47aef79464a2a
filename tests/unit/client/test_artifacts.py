"""Downloads from a gateway that does not do what it should."""

from __future__ import annotations

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


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil"])
def test_names_of_a_hostile_gateway_lead_nowhere(gateway: FakeGateway, tmp_path: Path, name: str) -> None:
    entry = {"name": name, "attempt": 1, "sha256": "00"}
    gateway.answers += [json_answer([entry]), text_answer("evil")]
    done = run("pyoco-client", "--server", gateway.url, "artifacts", "r", "--download", "a/b", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "its name leaves the folder" in reason(done.stderr)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["a", "a/b"]
