"""Plain forms are read as werkzeug reads them, and all others not at all."""

from __future__ import annotations

import io

import pytest
from werkzeug.datastructures import MultiDict
from werkzeug.formparser import FormDataParser
from werkzeug.wrappers import Request

from pyoco_server.gateway.plain_forms import PlainForm, read_form, read_plain_query

KIND = "multipart/form-data; boundary=b"
FIELD = b'Content-Disposition: form-data; name="flow_name"\r\n\r\nmain'
FILE = (
    b'Content-Disposition: form-data; name="workflow"; filename="f.yaml"\r\nContent-Type: text/x\r\n\r\n'
    b"flow:\r\n  a: 1\n"
)


def body(*parts: bytes) -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


def as_werkzeug_reads_it(kind: str, sent: bytes) -> PlainForm:
    options = {"boundary": kind.partition("boundary=")[2]}
    _, fields, files = FormDataParser(lambda **_: io.BytesIO(), silent=False).parse(
        io.BytesIO(sent), "multipart/form-data", len(sent), options
    )
    return PlainForm(first_of(fields), {name: file.read() for name, file in first_of(files).items()})


def first_of(values: MultiDict) -> dict:
    return {name: values[name] for name in values}


PLAIN = {
    "a field and a file": body(FIELD, FILE),
    "a file alone, without a type": body(FILE.replace(b"\r\nContent-Type: text/x", b"")),
    "names in small letters": body(FIELD.replace(b"Content-Disposition", b"content-disposition"), FILE),
    "twice": body(FIELD, FIELD.replace(b"main", b"other"), FILE, FILE.replace(b"1", b"2")),
    "empty values": body(FIELD[:-4], FILE[: FILE.index(b"flow:")]),
    "no end of line after all": body(FIELD, FILE)[:-2],
    "no UTF-8": body(FIELD + b"\xff\xfe", FILE + b"\xff"),
    "ends of lines at the edges": body(FIELD + b"\r\n", FILE.replace(b"flow:", b"\r\n\r\nflow:") + b"\r\n\r\n"),
    "what looks like a boundary": body(FIELD + b"\r\n--c\r\n", FILE + b"\r\n-b\r\n"),
    "nothing": b"--b--\r\n",
}
OTHERS = {
    "another type": ("multipart/mixed; boundary=b", body(FIELD)),
    "a boundary in quotes": ('multipart/form-data; boundary="b"', body(FIELD)),
    "more about the form": (KIND + "; charset=x", body(FIELD)),
    "no boundary": ("multipart/form-data", body(FIELD)),
    "something before": (KIND, b"x\r\n" + body(FIELD)),
    "something after": (KIND, body(FIELD) + b"x"),
    "the boundary in a value": (KIND, body(FIELD + b" --b ", FILE)),
    "a longer boundary in a value": (KIND, body(FIELD + b"\r\n--bb\r\n", FILE)),
    "blanks after a boundary": (KIND, body(FIELD).replace(b"--b\r\n", b"--b \r\n", 1)),
    "other ends of lines": (KIND, body(FIELD).replace(b"\r\n", b"\n")),
    "an end that is missing": (KIND, body(FIELD)[:-6]),
    "no end of the head": (KIND, body(b'Content-Disposition: form-data; name="flow_name"')),
    "a charset of its own": (
        KIND,
        body(FIELD.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=latin-1\r\n\r\n")),
    ),
    "another header": (KIND, body(FILE.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n"))),
    "a name without quotes": (KIND, body(FIELD.replace(b'"', b""))),
    "a name in another form": (KIND, body(FIELD.replace(b'name="', b"name*=utf-8''\""))),
    "a quote in the file's name": (KIND, body(FILE.replace(b"f.yaml", b'f\\"x'))),
    "no name of the file": (KIND, body(FILE.replace(b"f.yaml", b""))),
    "nothing at all": (KIND, b""),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_form_is_read_as_by_werkzeug(name: str) -> None:
    assert read_form(KIND, PLAIN[name]) == as_werkzeug_reads_it(KIND, PLAIN[name])


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_form_is_left_alone(name: str) -> None:
    assert read_form(*OTHERS[name]) is None


@pytest.mark.parametrize("piece", [b"", b"\r", b"\n", b"\r\n", b"--b", b'"', b";", b"\\", b"\xff", b" "])
def test_a_form_with_one_more_piece_anywhere_is_read_as_by_werkzeug_or_not_at_all(piece: bytes) -> None:
    whole, plain_count = body(FIELD, FILE), 0
    for place in range(len(whole)):
        for sent in (whole[:place] + piece + whole[place:], whole[:place] + piece + whole[place + 1 :]):
            form = read_form(KIND, sent)
            if form is not None:
                plain_count += 1
                assert form == as_werkzeug_reads_it(KIND, sent), sent
    assert bool(plain_count) == (piece != b"--b")


@pytest.mark.parametrize("query", ["", "flow_name=main&tag=gpu", "a=1&a=2&b=", "a", "&&a=b&", "a=b=c", "a-b=~.c", "=x"])
def test_a_plain_query_is_read_as_by_werkzeug(query: str) -> None:
    assert read_plain_query(query) == first_of(Request({"QUERY_STRING": query, "REQUEST_METHOD": "GET"}).args)


@pytest.mark.parametrize("query", ["a=%20", "a+b", "a=b;c", "a=é", "a=b#c", "a=b\n"])
def test_any_other_query_is_left_alone(query: str) -> None:
    assert read_plain_query(query) is None
