"""Zendesk's API: reads the changes since the last pull, including deleted tickets, from the incremental exports.

Tickets are read with a cursor. Organisations, users and ticket events (the changes of a ticket's status) are read by
time: the end time of one page is the start time of the next. Satisfaction ratings are listed since the last pull; a
rating that changes later is read with its ticket.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from typing import Any

from csm_core.errors import ConfigError, SourceUnavailableError
from csm_core.sources.api_client import WebApi, key_of
from csm_core.sources.pull import Page, State
from csm_core.sources.settings import ZendeskApi
from csm_core.system.addresses import checked_address
from csm_core.system.paging import Paging
from csm_core.system.paths import shown
from csm_core.system.secrets import variable

SYSTEM = "zendesk"
EXPORTS = ("organizations", "users", "tickets", "ticket_events", "satisfaction_ratings")
BEGINNING = 946_684_800
"""2000-01-01, before the first ticket."""
PAGES_PER_PACKAGE = 20
"""Two minutes of requests: Zendesk allows ten exports per minute."""
_RATINGS_A_PAGE = 100
_TOO_RECENT_SECONDS = 120


def connect(settings: ZendeskApi | None) -> WebApi:
    """The API with its key. Raises ConfigError without subdomain, e-mail address, key, or dlt."""
    stated = settings or ZendeskApi()
    key = key_of(stated, SYSTEM)
    if stated.login == "oauth":
        authorization = f"Bearer {key}"
    else:
        email = variable(stated.email_variable, "the e-mail address that the API token is used with")
        authorization = "Basic " + base64.b64encode(f"{email}/token:{key}".encode()).decode()
    placed = stated.model_copy(update={"base_url": _address(stated)})
    return WebApi(placed, SYSTEM, {"Authorization": authorization}, secrets=(key,))


def reach(settings: ZendeskApi | None) -> str:
    """Request one ticket to check the address and the key. Raises as ``WebApi.get``."""
    stated = settings or ZendeskApi()
    connect(stated).get("/api/v2/tickets.json", {"page[size]": 1})
    return f"{_address(stated)} is reachable, the key in {stated.key_variable} is valid"


def _address(settings: ZendeskApi) -> str:
    if "{subdomain}" not in settings.base_url:
        return settings.base_url
    holds = "the subdomain of your Zendesk: `acme` of acme.zendesk.com (or set `api: subdomain`)"
    subdomain = settings.subdomain or variable(settings.subdomain_variable, holds)
    try:
        return checked_address(settings.base_url.replace("{subdomain}", subdomain))
    except ValueError as error:
        message = f"{SYSTEM}: `base_url` with the subdomain {shown(subdomain)}: {error}. Set {holds}."
        raise ConfigError(message) from None


class ZendeskStream:
    """The stream of a pull.

    Its state: ``step`` (the current export), ``cursor`` of the tickets, ``until`` (the time in seconds up to which each
    other export is read), ``after`` (the position in the list of ratings), ``started`` (seconds).
    """

    def __init__(self, api: WebApi, clock: Callable[[], float] = time.time) -> None:
        self._api = api
        self._clock = clock

    def __call__(self, state: State) -> Iterator[Page]:
        """Pages of records by table; see ``csm_core.sources.pull.Stream``."""
        if not state.get("more"):
            state.update(step=0, after=None, started=int(self._clock()), more=True)
        for step in range(state["step"], len(EXPORTS)):
            state["step"] = step
            name = EXPORTS[step]
            if name == "tickets":
                yield from self._tickets(state)
            elif name == "satisfaction_ratings":
                yield from self._ratings(state)
            else:
                yield from self._by_time(state, name)

    def _tickets(self, state: State) -> Iterator[Page]:
        more = True
        paging = Paging(f"{SYSTEM}: the export of tickets", SourceUnavailableError)
        while more:
            cursor = state.get("cursor")
            asked = {"cursor": cursor} if cursor else {"start_time": BEGINNING}
            answer = self._api.get("/api/v2/incremental/tickets/cursor.json", asked)
            following = answer.get("after_cursor")
            more = not answer.get("end_of_stream", True)
            if more:
                paging.follow(following if following != cursor else None, _ids(answer, "tickets"))
            state["cursor"] = following or cursor
            if not more:
                state["step"] += 1
            yield "tickets", answer.get("tickets") or []

    def _by_time(self, state: State, name: str) -> Iterator[Page]:
        more = True
        paging = Paging(f"{SYSTEM}: the export of {name}", SourceUnavailableError)
        while more:
            # Zendesk rejects a start time within the last minute.
            since = min(self._read_until(state, name), state["started"] - _TOO_RECENT_SECONDS)
            answer = self._api.get(f"/api/v2/incremental/{name}.json", {"start_time": since})
            until = answer.get("end_time")
            more = not answer.get("end_of_stream", True)
            reached = until if isinstance(until, int) and until > since else None
            if more:
                paging.follow(reached, _ids(answer, name))
            if reached is not None:
                self._set_read_until(state, name, reached)
            if not more:
                state["step"] += 1
            yield name, answer.get(name) or []

    def _ratings(self, state: State) -> Iterator[Page]:
        name = "satisfaction_ratings"
        paging = Paging(f"{SYSTEM}: the list of {name}", SourceUnavailableError)
        more = True
        while more:
            asked: dict[str, Any] = {"start_time": self._read_until(state, name), "page[size]": _RATINGS_A_PAGE}
            if state.get("after"):
                asked["page[after]"] = state["after"]
            # Some plans do not have ratings.
            answer = self._api.get(f"/api/v2/{name}.json", asked, may_be_missing=True)
            meta: dict[str, Any] = answer.get("meta") or {}
            more = bool(meta.get("has_more"))
            after = meta.get("after_cursor") if more else None
            if more:
                paging.follow(after if after != state.get("after") else None, _ids(answer, name))
            state["after"] = after
            if not more:
                # The last page of the last export: once it is written, the pull is complete.
                self._set_read_until(state, name, state["started"] - _TOO_RECENT_SECONDS)
                state.update(step=0, more=False)
            yield name, answer.get(name) or []

    @staticmethod
    def _read_until(state: State, name: str) -> int:
        return int((state.get("until") or {}).get(name, BEGINNING))

    @staticmethod
    def _set_read_until(state: State, name: str, until: int) -> None:
        state["until"] = {**(state.get("until") or {}), name: until}


def _ids(answer: dict[str, Any], name: str) -> list[str]:
    return [str(record.get("id")) for record in answer.get(name) or []]
