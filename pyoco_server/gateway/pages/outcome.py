"""What became of a form that begins runs: the new ones, and each refusal with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flask import Response
from markupsafe import Markup

from pyoco_server.gateway.pages.frame import render


def outcome_page(
    title: Markup,
    new: Sequence[str],
    refused: Sequence[tuple[str, str]],
    back: str,
    rest: Mapping[str, str] | None = None,
) -> Response:
    """Give the page.

    :param new: ids of new runs.
    :param refused: for each an address and the reason.
    :param rest: the ``action`` and the fields of a form that goes on with what is left.
    """
    return render("outcome.html", title=title, new=new, refused=refused, back=back, rest=rest)
