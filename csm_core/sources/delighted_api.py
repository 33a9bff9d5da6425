"""Delighted's API: new survey responses, and those that changed since the last pull.

Responses are read in time order. Each request is for the first page since the last second that was read, so no response
is skipped if others arrive in between. Page numbers are used only within a second that has more than one page.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from csm_core.errors import SourceError, SourceUnavailableError
from csm_core.sources.api_client import WebApi, key_of
from csm_core.sources.pull import Page, State
from csm_core.sources.settings import DelightedApi
from csm_core.system.paging import Paging
from csm_core.system.terminal import printable

SYSTEM = "delighted"
PATH = "/v1/survey_responses.json"
TABLE = "survey_responses"
PER_PAGE = 100
# The field by which responses are read, the parameter for its lower bound, and the order.
_BY = (("created_at", "since", "asc"), ("updated_at", "updated_since", "asc:updated_at"))


def connect(settings: DelightedApi) -> WebApi:
    """The API with its key. Raises ConfigError without a key or without dlt."""
    key = key_of(settings, SYSTEM)
    login = base64.b64encode(f"{key}:".encode()).decode()
    return WebApi(settings, SYSTEM, {"Authorization": f"Basic {login}"}, secrets=(key,))


def reach(settings: DelightedApi) -> str:
    """Request one response to check the address and the key. Raises as ``WebApi.get``."""
    connect(settings).get_list(PATH, {"per_page": 1})
    return f"{settings.base_url} is reachable, the key in {settings.key_variable} is valid"


class DelightedStream:
    """The stream of a pull. Its state: ``until``, the time in seconds read per field, ``step`` and ``page``."""

    def __init__(self, api: WebApi) -> None:
        self._api = api

    def __call__(self, state: State) -> Iterator[Page]:
        """Pages of records by table; see ``csm_core.sources.pull.Stream``."""
        if not state.get("more"):
            state.update(step=0, page=1, more=True)
        for step in range(state["step"], len(_BY)):
            more = True
            paging = Paging(f"{SYSTEM}: the list of responses", SourceUnavailableError)
            while more:
                records, more = self._next(state, step)
                if more:
                    # A page is a time and a number; a service that ignores them repeats its records.
                    place = (state["page"], *sorted((state.get("until") or {}).items()))
                    paging.follow(place, [record.get("id") for record in records])
                if not more:
                    state.update(step=step + 1, page=1, more=step + 1 < len(_BY))
                yield TABLE, records

    def _next(self, state: State, step: int) -> tuple[list[dict[str, Any]], bool]:
        """The next page, which is written to the state, and whether there are more."""
        field, parameter, order = _BY[step]
        read_until: dict[str, int] = dict(state.get("until") or {})
        since = read_until.get(field, 0)
        query = {parameter: since, "order": order, "per_page": PER_PAGE, "page": state["page"], "expand[]": "person"}
        records = self._api.get_list(PATH, query)
        reached = max((_seconds(record, field) for record in records), default=0)
        if reached > since:
            state.update(until={**read_until, field: reached}, page=1)
        else:
            state["page"] += 1
        return records, len(records) == PER_PAGE


def _seconds(record: Mapping[str, Any], field: str) -> int:
    """The time of a response in seconds since 1970; 0 without one. Raises SourceError for another value."""
    value = record.get(field)
    try:
        return int(float(value)) if value is not None and str(value).strip() else 0
    except (TypeError, ValueError, OverflowError):
        message = (
            f"{SYSTEM}: the API returned {field} {printable(str(value))!r} in response "
            f"{printable(str(record.get('id')))!r}; expected seconds since 1970. This page is not used. "
            "Check `base_url` of the source in csm.yaml, or report it to Delighted."
        )
        raise SourceError(message) from None
