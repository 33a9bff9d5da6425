"""HubSpot's API: the first pull lists all records; later pulls search for changes and list archived records.

A search returns at most its first 10,000 results. Therefore each request asks for the first page after the highest
``hs_object_id`` read so far: this never reaches the limit, and a record that changes during the pull is in the next
pull. Search results have no associations; these are requested for each page. A list of archived records can only be
read completely; records that an earlier pull has read are dropped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from csm_core.errors import SourceUnavailableError
from csm_core.sources.api_client import WebApi, key_of
from csm_core.sources.pull import Page, State
from csm_core.sources.settings import HubSpotApi, HubSpotSettings
from csm_core.system.paging import Paging

SYSTEM = "hubspot"
ENGAGEMENTS: Mapping[str, tuple[str, ...]] = {
    "calls": ("hs_call_status", "hs_call_disposition"),
    "emails": (
        *("hs_email_status", "hs_email_direction", "hs_sequence_id", "hs_engagement_source"),
        "hs_incoming_email_is_out_of_office",
    ),
    "meetings": ("hs_meeting_outcome", "hs_meeting_start_time"),
    "notes": (),
    "tasks": (),
    "communications": ("hs_communication_channel_type",),
}
"""The kinds of engagement and the properties of each, besides its time."""
OBJECTS = ("companies", "contacts", *ENGAGEMENTS)
PAGES_PER_PACKAGE = 100
_LIST_PAGE = 100
_SEARCH_PAGE = 200
# The search index lags behind: it does not find the latest changes yet.
_OVERLAP_SECONDS = 600


def connect(settings: HubSpotApi) -> WebApi:
    """The API with its key. Raises ConfigError without a key or without dlt."""
    key = key_of(settings, SYSTEM)
    return WebApi(settings, SYSTEM, {"Authorization": f"Bearer {key}"}, used_up=daily_limit)


def reach(settings: HubSpotApi) -> str:
    """Request one company to check the address and the key. Raises as ``WebApi.get``."""
    connect(settings).get("/crm/v3/objects/companies", {"limit": 1})
    return f"{settings.base_url} is reachable, the key in {settings.key_variable} is valid"


def daily_limit(text: str) -> str | None:
    """The message for a response with status 429 that concerns the daily limit; None for any other limit."""
    try:
        policy = str(json.loads(text).get("policyName"))
    except (ValueError, AttributeError):
        return None
    if policy != "DAILY":
        return None
    return (
        "the daily request limit is used up; run again after midnight in the time zone of the account. No data is lost."
    )


def properties_of(settings: HubSpotSettings) -> dict[str, tuple[str, ...]]:
    """The requested properties by object type."""
    accounts = settings.accounts.properties if settings.accounts else ()
    companies = ("name", "domain", "lifecyclestage", "hs_merged_object_ids", settings.account_key, *accounts)
    contacts = ("email", "lifecyclestage", "hs_merged_object_ids", "associatedcompanyid", settings.role_property)
    engagements = {name: ("hs_timestamp", *more) for name, more in ENGAGEMENTS.items()}
    named = {"companies": companies, "contacts": contacts, **engagements}
    return {name: tuple(dict.fromkeys(properties)) for name, properties in named.items()}


class HubSpotStream:
    """The stream of a pull.

    Its state: ``mode`` during a pull, ``step`` (the current part), ``after`` (the position in the list of a part),
    ``started`` and ``since`` in seconds, and the ``properties`` of earlier pulls. If the properties change, all records
    are read again.
    """

    def __init__(self, api: WebApi, settings: HubSpotSettings, clock: Callable[[], float] = time.time) -> None:
        self._api = api
        self._clock = clock
        self._properties = properties_of(settings)

    def __call__(self, state: State) -> Iterator[Page]:
        """Pages of records by table; see ``csm_core.sources.pull.Stream``."""
        wanted = {name: list(properties) for name, properties in self._properties.items()}
        if not state.get("mode") or state.get("properties") != wanted:
            whole = state.get("since") is None or state.get("properties") != wanted
            state.update(mode="whole" if whole else "changes", step=0, after=None, properties=wanted)
            state.update(started=int(self._clock()), more=True)
        parts = [part for name in OBJECTS for part in ((name, self._current), (name, self._archived))]
        for step in range(state["step"], len(parts)):
            name, pages = parts[step]
            for page, after in pages(state, name):
                # The state must be correct for the time after the page is written.
                state.update(step=step if after else step + 1, after=after)
                yield name, page
        for page, after in self._pages("/crm/v3/owners", {"limit": _LIST_PAGE}, None):
            if after is None:
                state.update(mode=None, since=state["started"] - _OVERLAP_SECONDS, more=False)
            yield "owners", page

    def _current(self, state: State, name: str) -> Iterator[tuple[list[dict[str, Any]], str | None]]:
        if state["mode"] == "changes":
            yield from self._changed(state, name)
            return
        query: dict[str, Any] = {"limit": _LIST_PAGE, "properties": ",".join(self._properties[name])}
        if name in ENGAGEMENTS:
            query["associations"] = "companies,contacts"
        for page, after in self._pages(f"/crm/v3/objects/{name}", query, state.get("after")):
            incomplete = [record for record in page if _has_more_associations(record)]
            self._associate(name, incomplete)
            yield page, after

    def _changed(self, state: State, name: str) -> Iterator[tuple[list[dict[str, Any]], str | None]]:
        modified = "lastmodifieddate" if name == "contacts" else "hs_lastmodifieddate"
        since = {"propertyName": modified, "operator": "GTE", "value": str(state["since"] * 1000)}
        last: str | None = state.get("after")
        more = True
        while more:
            beyond = {"propertyName": "hs_object_id", "operator": "GT", "value": last or "0"}
            answer = self._api.search(
                f"/crm/v3/objects/{name}/search",
                {
                    "filterGroups": [{"filters": [since, beyond]}],
                    "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
                    "properties": list(self._properties[name]),
                    "limit": _SEARCH_PAGE,
                },
            )
            page = _records(answer)
            reached = max((int(record["id"]) for record in page), default=0)
            more = reached > int(last or 0)
            last = str(reached) if more else None
            self._associate(name, page)
            yield page, last

    def _archived(self, state: State, name: str) -> Iterator[tuple[list[dict[str, Any]], str | None]]:
        query = {"limit": _LIST_PAGE, "archived": "true"}
        since = datetime.fromtimestamp(state.get("since") or 0, UTC).isoformat()[:19]
        for page, after in self._pages(f"/crm/v3/objects/{name}", query, state.get("after")):
            yield [record for record in page if str(record.get("archivedAt") or "9999")[:19] >= since], after

    def _pages(
        self, path: str, parameters: Mapping[str, Any], after: str | None
    ) -> Iterator[tuple[list[dict[str, Any]], str | None]]:
        """The pages of a list, each with the cursor of the next one."""
        more = True
        paging = Paging(f"{SYSTEM}: {path}", SourceUnavailableError)
        while more:
            answer = self._api.get(path, {**parameters, **({"after": after} if after else {})})
            following: Any = ((answer.get("paging") or {}).get("next") or {}).get("after")
            after = str(following) if following else None
            more = after is not None
            page = _records(answer)
            if more:
                paging.follow(after, [str(record.get("id")) for record in page])
            yield page, after

    def _associate(self, name: str, records: Sequence[dict[str, Any]]) -> None:
        """Add all companies and contacts to engagements, in the form that a list of engagements has."""
        if name not in ENGAGEMENTS or not records:
            return
        for other in ("companies", "contacts"):
            associated: dict[str, list[dict[str, str]]] = {str(record["id"]): [] for record in records}
            inputs: list[dict[str, str]] = [{"id": record} for record in associated]
            pagings: dict[str, Paging] = {}
            while inputs:
                answer = self._api.search(f"/crm/v4/associations/{name}/{other}/batch/read", {"inputs": inputs})
                inputs = []
                for result in _records(answer):
                    record = str(result["from"]["id"])
                    associated[record] += [{"id": str(one["toObjectId"])} for one in result.get("to") or []]
                    following = ((result.get("paging") or {}).get("next") or {}).get("after")
                    if following:
                        what = f"{SYSTEM}: the {other} of {name} {record}"
                        paging = pagings.setdefault(record, Paging(what, SourceUnavailableError))
                        paging.follow(str(following), [str(one["toObjectId"]) for one in result.get("to") or []])
                        inputs.append({"id": record, "after": str(following)})
            for record in records:
                record.setdefault("associations", {})[other] = {"results": associated[str(record["id"])]}


def _records(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", answer.get("results") or [])


def _has_more_associations(record: Mapping[str, Any]) -> bool:
    """Whether a list has only the first associations of a record."""
    kinds: Mapping[str, Any] = record.get("associations") or {}
    return any(kind.get("paging") for kind in kinds.values())
