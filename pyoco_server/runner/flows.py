"""Finding the flow of a run: in its flow.yaml, or by its name through the resolver of the worker.

Source: contract, sections 4 and 5 (``--flow-resolver``).
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pyoco.core.models import Flow, Task
from pyoco.discovery.loader import TaskLoader
from pyoco.discovery.plugins import PluginRegistry, iter_entry_points
from pyoco.dsl.syntax import TaskWrapper

from pyoco_server.errors import FlowNotFound, InvalidCommand, NotAllowed, WorkflowInvalid
from pyoco_server.runner.allowed import Allowed
from pyoco_server.workflow.flow_yaml import TaskSpec, parse_workflow
from pyoco_server.workflow.graph import build_flow, task_names_of

Resolver = Callable[[str], Any]


def load_resolver(spec: str) -> Resolver:
    """Import a flow resolver.

    :param spec: ``module:function`` or ``path/to/file.py:function``.
    :raises InvalidCommand: it cannot be imported or called; says why.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise InvalidCommand(f"The flow resolver {spec} must be given as module:function or file.py:function.")
    try:
        module = _import_file(place) if place.endswith(".py") else importlib.import_module(place)
        resolver: Resolver = getattr(module, name)
    except (Exception, SystemExit) as exc:
        raise InvalidCommand(f"The flow resolver {spec} cannot be imported: {_where(exc)}") from exc
    if not callable(resolver):
        raise InvalidCommand(
            f"The flow resolver {spec} cannot be called: {name} is a {type(resolver).__name__}, no function."
        )
    return resolver


def resolve_by_name(flow_name: str, resolver: Resolver | None, allowed: Allowed) -> Flow:
    """Ask the worker's resolver for a flow.

    :param allowed: what its tasks may be.
    :raises FlowNotFound: it knows no such flow, there is no resolver, or a task is not allowed.
    """
    if resolver is None:
        raise FlowNotFound(f"{flow_name} (this worker was started without a flow resolver)")
    try:
        flow = resolver(flow_name)
    except KeyError as exc:
        raise FlowNotFound(f"{flow_name} (the resolver does not know it)") from exc
    if not isinstance(flow, Flow):
        raise FlowNotFound(f"{flow_name} (the resolver gave a {type(flow).__name__}, not a pyoco Flow)")
    return _checked(flow, allowed)


def resolve_workflow(text: str, flow_name: str, allowed: Allowed) -> Flow:
    """Build the flow of a flow.yaml with the tasks that this process can import.

    :param allowed: what its tasks may be.
    :raises FlowNotFound: a task cannot be found or imported or is not allowed, or the workflow is not valid; says which
        and why.
    """
    try:
        workflow = parse_workflow(text)
    except WorkflowInvalid as exc:
        raise FlowNotFound(f"{flow_name} (its flow.yaml is not valid: {exc})") from exc
    is_known = set(task_names_of(workflow).values()) <= workflow.tasks.keys()
    if is_known and all(spec.callable for spec in workflow.tasks.values()):
        # Everything is said in the file: plug-ins need not be searched for, which costs milliseconds.
        tasks = {name: _explicit_task(name, spec, allowed) for name, spec in workflow.tasks.items()}
        return build_flow(workflow, tasks, flow_name)
    # pyoco does not say what its loader's functions take.
    loader: Any = _Loader(SimpleNamespace(tasks=workflow.tasks), allowed)
    try:
        loader.load()
    except ValueError as exc:
        raise FlowNotFound(f"{exc}{loader.broken_plugins}") from exc
    try:
        return _checked(build_flow(workflow, dict(loader.tasks), flow_name), allowed)
    except NotAllowed:
        raise
    except FlowNotFound as exc:
        raise FlowNotFound(f"{exc}{loader.broken_plugins}") from exc


def _checked(flow: Flow, allowed: Allowed) -> Flow:
    """Give a flow whose tasks may all be executed, wherever they come from.

    :raises NotAllowed: says which may not.
    """
    for task in flow.tasks:
        allowed.check_defined(task.func, task.name)
    return flow


def _explicit_task(name: str, spec: TaskSpec, allowed: Allowed) -> Task:
    """Make the task of a ``callable``; its inputs are a copy, so that no run can change those of the next."""
    assert spec.callable is not None
    module, _, attributes = spec.callable.partition(":")
    allowed.check_name(module, attributes, name)
    found = _import_callable(name, spec.callable)
    if isinstance(found, TaskWrapper):
        found = found.task
    if isinstance(found, Task):
        found = found.func
    if not callable(found):
        raise FlowNotFound(f"{spec.callable} (of task {name}: a {type(found).__name__}, which cannot be called)")
    allowed.check_defined(found, name)
    task = Task(func=found, name=name)
    task.inputs = copy.deepcopy(dict(spec.inputs))
    task.outputs = list(spec.outputs)
    return task


def _import_callable(name: str, path: str) -> Any:
    module_name, _, attributes = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
        return found
    except (Exception, SystemExit) as exc:
        raise FlowNotFound(f"{path} (of task {name}: {_where(exc)})") from exc


class _Loader(TaskLoader):
    """pyoco's discovery of plug-ins and modules, of what is allowed; pyoco's own only prints what failed."""

    def __init__(self, config: Any, allowed: Allowed) -> None:
        super().__init__(config)
        self._allowed = allowed

    def _load_explicit_task(self, name: str, conf: Any, callable_path: str) -> None:
        self.tasks[name] = _explicit_task(name, conf, self._allowed)

    def _load_module(self, module_name: str) -> None:
        try:
            self._allowed.check_module(module_name)
        except NotAllowed as exc:
            self.plugin_reports.append({"name": module_name, "error": str(exc)})
            return
        super()._load_module(module_name)

    def _load_entry_point_plugins(self) -> None:
        for entry in iter_entry_points():
            registry = PluginRegistry(self, entry.name)
            try:
                # Its import executes code already.
                self._allowed.check_module(entry.module)
                entry.load()(registry)
            except Exception as exc:
                self.plugin_reports.append({"name": entry.name, "error": str(exc)})

    @property
    def broken_plugins(self) -> str:
        """What to add to an error: who submits has no other way to see why a plug-in brings no tasks."""
        broken = [f"{report['name']} ({report['error']})" for report in self.plugin_reports if "error" in report]
        return f" Plug-ins that cannot be loaded here: {', '.join(broken)}." if broken else ""


def _import_file(place: str) -> Any:
    path = Path(place).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {place}")
    # What stands beside the file can be imported by it, as for a script.
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _where(exc: BaseException) -> str:
    """Give an import error with the line of the user's own code that raised it."""
    text = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    frames = [
        frame
        for frame in traceback.extract_tb(exc.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    return f"{text}, at {frames[-1].filename}:{frames[-1].lineno}" if frames else text
