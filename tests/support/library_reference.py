"""The reference in ``docs/library_api.md``, made from the code; ``make documents`` writes it."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyoco_server
from pyoco_server import errors, http_api

DOCUMENT = Path(__file__).parents[2] / "docs" / "library_api.md"
#: What stands before it is written by hand.
MARK = "<!-- From here on made from the code by `make documents`. -->\n"
_LINE_CHARS = 100
_ROLE = re.compile(r":(?:meth|class|func):")
#: One of the module at hand, or of the one that it names.
_CONSTANT = re.compile(r":data:`~?(?:([\w.]+)\.)?(\w+)`")
_FIELD = re.compile(r":(param|return|raises)\s*([^:]*):\s*(.*)")


def exported() -> dict[str, Any]:
    """Give what the package exports, by name; the version apart."""
    return {name: getattr(pyoco_server, name) for name in pyoco_server.__all__ if name != "__version__"}


def public_functions() -> dict[str, Callable[..., Any]]:
    """Give everything that a program can call, by the name that the documents have for it."""
    found: dict[str, Callable[..., Any]] = {}
    for name, thing in exported().items():
        if inspect.isclass(thing):
            methods = inspect.getmembers(thing, lambda item: inspect.isfunction(item) or inspect.ismethod(item))
            found |= {f"{name}.{method}": function for method, function in methods if not method.startswith("_")}
        else:
            found[name] = thing
    # What the settings have beside this one is not for programs.
    found = {name: each for name, each in found.items() if not name.startswith("NatsBackendConfig.")}
    return {**found, "NatsBackendConfig.from_env": exported()["NatsBackendConfig"].from_env, **_http_api()}


def _http_api() -> dict[str, Callable[..., Any]]:
    return {"http_api.create_app": http_api.create_app}


def raised(function: Callable[..., Any]) -> list[str]:
    """Give the names of the errors that a function says it raises."""
    return re.findall(r":raises (\w+):", inspect.getdoc(function) or "")


def reference() -> str:
    """Give all that follows the mark."""
    return "\n".join([*_errors(), *_sections()])


def _errors() -> Iterator[str]:
    yield "\n## Errors\n"
    yield "| error | a kind of | id | another try may succeed | what it says |\n|---|---|---|---|---|"
    names = {name for function in public_functions().values() for name in raised(function)}
    # A wait for a run may end with either, and both carry more than a text.
    for name in sorted(names & vars(errors).keys() | {"SubmissionUncertain", "PyocoServerError"}):
        kind = getattr(errors, name)
        bases = ", ".join(f"`{base.__name__}`" for base in kind.__bases__)
        err_id = f"`{kind.err_id}`" if kind.err_id else ""
        yield f"| `{name}` | {bases} | {err_id} | {_retryable(kind)} | {kind.title()} |"
    yield ""


def _retryable(kind: type[errors.PyocoServerError]) -> str:
    if kind is errors.GatewayRefused:
        return f"with {', '.join(map(str, sorted(errors.PASSING_STATUS)))}"
    return "yes" if kind.retryable else "no"


def _sections() -> Iterator[str]:
    functions = public_functions()
    for name in sorted({full.partition(".")[0] for full in functions}):
        thing = exported().get(name)
        if inspect.isclass(thing):
            yield f"## {name}\n"
            yield from _class_text(name, thing)
        for full, function in sorted(functions.items()):
            if full.partition(".")[0] == name:
                yield f"{'###' if '.' in full else '##'} {full}\n"
                yield _signature(full.rpartition(".")[2], inspect.signature(function))
                yield _text(function)


def _class_text(name: str, kind: type) -> Iterator[str]:
    if name == "NatsBackendConfig":
        yield "The settings of [config.md](config.md) as fields: `PYOCO_DRAIN_SEC` is `drain_sec`, and so on."
        yield "They cannot be changed; `dataclasses.replace` gives others.\n"
        return
    if not hasattr(kind, "connect"):
        yield _signature(name, inspect.signature(kind))
    yield _text(kind)


def _signature(name: str, signature: inspect.Signature) -> str:
    shown, is_keyword_only = [], False
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword_only:
            is_keyword_only = True
            shown.append("*")
        shown.append(_parameter(parameter))
    result = signature.return_annotation
    end = "" if result in (None, "None", signature.empty) and name[0].isupper() else f" -> {_type(result)}"
    line = f"{name}({', '.join(shown)}){end}"
    if len(line) > _LINE_CHARS:
        line = f"{name}(\n" + "".join(f"    {each},\n" for each in shown) + f"){end}"
    return f"```text\n{line}\n```\n"


def _parameter(parameter: inspect.Parameter) -> str:
    prefix = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    text = f"{prefix}{parameter.name}: {_type(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return text
    return f"{text} = {'...' if callable(parameter.default) else repr(parameter.default)}"


def _type(annotation: Any) -> str:
    return re.sub(r"\bConfig\b", "NatsBackendConfig", str(annotation).strip("'"))


def _text(thing: Any) -> str:
    """Give a docstring as Markdown: its fields as a list."""
    lines: list[str] = []
    for line in (inspect.getdoc(thing) or "").splitlines():
        field = _FIELD.match(line)
        if field is None:
            # What continues a field is set in to the depth of the list.
            lines.append(re.sub(r"^ {4}", "  ", line))
            continue
        kind, name, rest = field.groups()
        word = {"param": f"`{name}`", "return": "gives", "raises": f"raises `{name}`"}[kind]
        lines.append(f"- {word}: {rest}")

    def value(found: re.Match[str]) -> str:
        module = importlib.import_module(found[1]) if found[1] else inspect.getmodule(thing)
        return f"`{found[2]}` ({getattr(module, found[2]):g})"

    text = _CONSTANT.sub(value, "\n".join(lines))
    return _ROLE.sub("", text).replace("``", "`") + "\n"


if __name__ == "__main__":
    head = DOCUMENT.read_text().partition(MARK)[0]
    DOCUMENT.write_text(head + MARK + reference())
