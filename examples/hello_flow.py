"""A flow resolver: gives a worker the flows that are submitted by name.

pyoco-worker --tags hello --flow-resolver examples/hello_flow.py:resolve_flow
pyoco-client submit --flow-name main --tag hello --param x=41
"""

from pyoco.core.models import Flow
from pyoco.dsl.syntax import task


@task
def add_one(x: int = 0) -> int:
    return x + 1


@task
def to_text(add_one: int) -> str:
    return f"v={add_one}"


def resolve_flow(flow_name: str) -> Flow:
    """Give the flow of a name; a KeyError says that there is none."""
    if flow_name != "main":
        raise KeyError(flow_name)
    return Flow(name="main") >> add_one >> to_text
