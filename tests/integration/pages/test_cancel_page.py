"""Cancelling by a form: one run, or those that were ticked."""

from __future__ import annotations

from typing import Any

import requests

from tests.support.gateway import LocalGateway
from tests.support.pages import read, visit
from tests.support.waiting import eventually

OWN = {"Sec-Fetch-Site": "same-origin"}


def _post(gateway: LocalGateway, path: str, headers: dict[str, str] = OWN, **fields: Any) -> requests.Response:
    return gateway.ask("POST", path, data=fields, headers=headers, allow_redirects=False)


def _status(gateway: LocalGateway, run_id: str) -> str:
    status: str = gateway.get(f"/runs/{run_id}").json()["status"]
    return status


def _is_cancelled(gateway: LocalGateway, run_id: str) -> None:
    eventually(lambda: _status(gateway, run_id) == "CANCELLED", what=f"the end of {run_id}")


def test_a_run_is_cancelled_by_the_form_of_its_page(shared: LocalGateway) -> None:
    run_id = shared.submit()
    form = visit(shared, f"/ui/runs/{run_id}").one("form", method="post")
    answer = _post(shared, form.attributes["action"])
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/ui/runs/{run_id}")
    _is_cancelled(shared, run_id)
    page = visit(shared, f"/ui/runs/{run_id}")
    assert page.heading == "main was cancelled"
    assert not page.all("form", action=form.attributes["action"])


def test_a_selection_is_cancelled_and_the_same_list_is_shown_again(shared: LocalGateway) -> None:
    first, second, third = (shared.submit("bulk") for _ in range(3))
    page = visit(shared, "/ui/runs?flow=bulk&status=PENDING")
    offered = {box.attributes["value"] for box in page.all("input", name="run")}
    assert offered == {first, second, third}
    (back,) = [field.attributes["value"] for field in page.all("input", name="back")]
    answer = _post(shared, "/ui/cancel", run=[first, second, "gone"], back=back)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/runs?flow=bulk&status=PENDING")
    for run_id in (first, second):
        _is_cancelled(shared, run_id)
    assert _status(shared, third) == "PENDING"
    page = visit(shared, "/ui/runs?flow=bulk&status=CANCELLED")
    assert "Cancel those picked" not in page.words and first in page.html


def test_what_another_site_sends_cancels_nothing(shared: LocalGateway) -> None:
    run_id = shared.submit()
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}):
        read(_post(shared, f"/ui/runs/{run_id}/cancel", headers), status=403)
        read(_post(shared, "/ui/cancel", headers, run=run_id), status=403)
    assert _status(shared, run_id) == "PENDING"


def test_a_form_without_a_run_or_for_no_run_says_so(shared: LocalGateway) -> None:
    assert "form.run" in read(_post(shared, "/ui/cancel"), status=422).words
    read(_post(shared, "/ui/runs/nobody/cancel"), status=404)
    for back in ("", "\r\nX-Evil: 1//evil", "path=1&\ud7ff=%ff"):
        location = _post(shared, "/ui/cancel", run="x", back=back).headers["Location"]
        assert location.partition("?")[0] == "/ui/runs"
