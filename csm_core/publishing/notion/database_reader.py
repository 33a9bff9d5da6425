"""Reads the Notion databases: the data source of each, and all of its pages."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from notion_client import AsyncClient

from csm_core.errors import ConfigError, NotionError
from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion.databases import DatabaseSpec, same_id
from csm_core.publishing.notion.page_blocks import PAGE_SIZE
from csm_core.publishing.notion.retry import Caller
from csm_core.publishing.notion.rich_text import clean, plain
from csm_core.system.paging import Paging

# The maximum number of pages that a query returns: https://developers.notion.com/guides/data-apis/query-large-data-sources
QUERY_RESULTS = 10_000


@dataclass(frozen=True)
class DataSource:
    """A database's data source, and the name of its title property."""

    database_id: str
    data_source_id: str
    title: str
    only_source: bool = True

    @property
    def parent(self) -> dict[str, str]:
        """The parent of a new page: the database, or the data source if the database has several."""
        if self.only_source:
            return {"type": "database_id", "database_id": self.database_id}
        return {"type": "data_source_id", "data_source_id": self.data_source_id}


class DatabaseReader:
    """Resolves the data sources of the four databases once, and queries their pages.

    ``database_ids`` and ``data_source_ids`` map settings to ids; ``switched_off`` are the switches of properties that
    are not written. Every method raises NotionError with Notion's message if a request is rejected or gets no answer,
    and ConfigError for a missing id.
    """

    def __init__(
        self,
        client: AsyncClient,
        caller: Caller,
        database_ids: Mapping[str, str],
        data_source_ids: Mapping[str, str],
        switched_off: Collection[str] = (),
    ) -> None:
        self._client = client
        self._caller = caller
        self._database_ids = database_ids
        self._chosen = data_source_ids
        self._switched_off = switched_off
        self._sources: dict[str, DataSource] = {}
        # The types of the properties of each database, from the last answer that had them.
        self._types: dict[str, dict[str, str]] = {}
        self._windows: dict[str, tuple[str, ...]] = {}
        self._times: dict[str, dict[str, str]] = {}
        self._listed = QUERY_RESULTS

    async def source(self, spec: DatabaseSpec) -> DataSource:
        """The database's data source, resolved once; if the database has several, a setting selects one."""
        if spec.setting not in self._sources:
            self._sources[spec.setting] = await self._resolve(spec)
        return self._sources[spec.setting]

    def remember(self, spec: DatabaseSpec, source: DataSource, windows: Sequence[str] = ()) -> None:
        """Use a data source that an earlier run resolved, and the times that split it into query windows."""
        self._sources[spec.setting] = source
        self._windows[spec.setting] = tuple(windows)
        self._types.pop(spec.setting, None)

    async def present(self, spec: DatabaseSpec) -> frozenset[str]:
        """The properties with a switch that can be written: not switched off, and in the database with their type.

        A page that was read shows the properties of its database. Without one, the data source is read.
        """
        if spec.setting not in self._types and any(item.switch for item in spec.wanted(self._switched_off)):
            source = await self.source(spec)
            if spec.setting not in self._types:
                described = await self._caller.repeat(
                    lambda: self._client.data_sources.retrieve(source.data_source_id)  # pyright: ignore[reportReturnType]
                )
                self._note_types(spec, described["properties"])
        return spec.present(self._types.get(spec.setting, {}), self._switched_off)

    def present_now(self, spec: DatabaseSpec) -> frozenset[str]:
        """The same, from the answers so far; empty if no answer had the properties."""
        return spec.present(self._types.get(spec.setting, {}), self._switched_off)

    def _note_types(self, spec: DatabaseSpec, properties: Mapping[str, Any]) -> None:
        self._types[spec.setting] = {name: value["type"] for name, value in properties.items()}

    def windows(self, spec: DatabaseSpec) -> tuple[str, ...]:
        """The creation times that split a database into queries within Notion's limit; empty if one query is enough.

        They cover all pages that were read or created here, so the read after a large first publication uses them.
        """
        remembered = self._windows.get(spec.setting, ())
        current = windows_of(list(self._times.get(spec.setting, {}).values()), self._listed)
        return current if len(current) > len(remembered) else remembered

    def database_id(self, spec: DatabaseSpec) -> str:
        """The configured database id. Raises ConfigError if the setting is missing."""
        configured = self._database_ids.get(spec.setting, "")
        if not configured:
            message = f"{spec.setting} is not set: the id of the database {spec.title!r}. `csm notion init` creates it."
            raise ConfigError(message)
        return configured

    def chosen_source(self, spec: DatabaseSpec) -> str:
        """The data source that the settings select, or an empty string."""
        return self._chosen.get(spec.data_source_setting, "")

    async def find(self, spec: DatabaseSpec, account_id: str) -> list[dict[str, Any]]:
        """The database's pages of an account. Select properties are not part of the filter."""
        # Notion's `equals` may match more than exact text.
        wanted = clean(account_id).text
        condition = {"property": names.ACCOUNT_ID, "rich_text": {"equals": wanted}}
        pages = await self.query_all(spec, condition)
        return [page for page in pages if _value(page["properties"].get(names.ACCOUNT_ID)) == wanted]

    async def query_all(self, spec: DatabaseSpec, condition: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """All pages that match the condition, without duplicates.

        If Notion reports a query as incomplete, the next query starts at the last creation time and reads its pages
        again. After a full read that needed several queries, the creation times are kept as windows, so that the next
        full read reads each page once. Together, the windows cover all creation times.
        """
        source = await self.source(spec)
        pages: dict[str, dict[str, Any]] = {}
        times = self.windows(spec) if condition is None else ()
        listed = 0
        for start, end in pairwise((None, *times, None)):
            listed = max(listed, await self._read_window(spec, source, condition, (start, end), pages))
        if condition is None:
            self._times[spec.setting] = {key: str(page["created_time"]) for key, page in pages.items()}
        if listed and condition is None:
            self._listed = min(self._listed, listed)
            self._windows[spec.setting] = windows_of(list(self._times[spec.setting].values()), listed)
        return list(pages.values())

    async def _read_window(
        self,
        spec: DatabaseSpec,
        source: DataSource,
        condition: Mapping[str, Any] | None,
        window: tuple[str | None, str | None],
        pages: dict[str, dict[str, Any]],
    ) -> int:
        """Add the pages created in a window; returns the number of pages per query, 0 if one query was enough."""
        since, end = window
        most_listed = 0
        while True:
            count_before = len(pages)
            bounds = (condition, _created("on_or_after", since), _created("before", end))
            complete, last, listed = await self._query(spec, source, _all_of(*bounds), pages)
            if complete:
                return most_listed
            most_listed = max(most_listed, listed)
            if last is None or (last == since and len(pages) == count_before):
                message = f"{spec.title}: more pages were created in one minute ({since}) than a query can return"
                raise NotionError(message)
            since = last

    async def _query(
        self,
        spec: DatabaseSpec,
        source: DataSource,
        condition: Mapping[str, Any] | None,
        pages: dict[str, dict[str, Any]],
    ) -> tuple[bool, str | None, int]:
        """Add the pages of a query; returns whether it is complete, its last creation time, and its number of pages."""
        body: dict[str, Any] = {
            "page_size": PAGE_SIZE,
            "sorts": [{"timestamp": "created_time", "direction": "ascending"}],
            **({"filter": condition} if condition else {}),
        }
        last: str | None = None
        listed = 0
        complete = True
        paging = Paging(f"the query of Notion's data source {source.data_source_id}", NotionError)
        while True:
            answer = await self._caller.repeat(
                lambda: self._client.data_sources.query(source.data_source_id, **body)  # pyright: ignore[reportReturnType]
            )
            for page in answer["results"]:
                pages[page["id"]] = page
                last = page["created_time"]
            if answer["results"]:
                self._note_types(spec, answer["results"][-1]["properties"])
            listed += len(answer["results"])
            # Any answer may report the query as incomplete; the other answers still contain pages.
            complete = complete and answer.get("request_status", {}).get("type") != "incomplete"
            if not answer.get("has_more"):
                return complete, last, listed
            paging.follow(answer.get("next_cursor"), [page["id"] for page in answer["results"]])
            body["start_cursor"] = answer["next_cursor"]

    def note_created(self, spec: DatabaseSpec, page: Mapping[str, Any]) -> None:
        """Include a page that was just created in the windows of the next read."""
        if page.get("created_time"):
            self._times.setdefault(spec.setting, {})[str(page["id"])] = str(page["created_time"])

    async def _resolve(self, spec: DatabaseSpec) -> DataSource:
        database_id = self.database_id(spec)
        database = await self._caller.repeat(
            lambda: self._client.databases.retrieve(database_id)  # pyright: ignore[reportReturnType]
        )
        sources = database.get("data_sources") or []
        chosen = self.chosen_source(spec)
        matching = [one["id"] for one in sources if not chosen or same_id(one["id"], chosen)]
        if len(matching) != 1:
            listed = "; ".join(f"{one['id']} ({one.get('name') or 'unnamed'})" for one in sources) or "none"
            message = (
                f"{spec.title}: the database of {spec.setting} has {len(sources)} data sources: {listed}. "
                f"Choose one with {spec.data_source_setting}."
            )
            raise ConfigError(message)
        described = await self._caller.repeat(
            lambda: self._client.data_sources.retrieve(matching[0])  # pyright: ignore[reportReturnType]
        )
        self._note_types(spec, described["properties"])
        titles = [name for name, value in described["properties"].items() if value["type"] == "title"]
        return DataSource(database_id, matching[0], titles[0], len(sources) == 1)


def page_facts(spec: DatabaseSpec, page: Mapping[str, Any]) -> dict[str, Any]:
    """A page as plain values by property name, with ``id``, ``name`` and ``url``; missing properties are None."""
    properties = page["properties"]
    facts: dict[str, Any] = {"id": page["id"], "url": page.get("url"), "name": ""}
    for value in properties.values():
        if value.get("type") == "title":
            facts["name"] = plain(value["title"])
    for wanted in spec.properties:
        if wanted.type != "title":
            facts[wanted.name] = _value(properties.get(wanted.name))
    return facts


def edit_facts(page: Mapping[str, Any]) -> dict[str, Any]:
    """The last edit of a page: ``last_edited_by``, the id of a user, and ``last_edited_time`` as Notion writes it."""
    return {
        "last_edited_by": (page.get("last_edited_by") or {}).get("id"),
        "last_edited_time": page.get("last_edited_time"),
    }


def _value(property_value: Mapping[str, Any] | None) -> Any:
    if property_value is None:
        return None
    kind = property_value["type"]
    value = property_value.get(kind)
    if kind == "rich_text":
        return plain(value or [])
    if kind in ("select", "status"):
        return value["name"] if value else None
    if kind == "date":
        return value["start"] if value else None
    return value


def _all_of(*conditions: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    present = [condition for condition in conditions if condition]
    return present[0] if len(present) == 1 else {"and": present} if present else None


def _created(when: str, time: str | None) -> Mapping[str, Any] | None:
    return {"timestamp": "created_time", "created_time": {when: time}} if time else None


def windows_of(times: Sequence[str], maximum: int) -> tuple[str, ...]:
    """The creation times that split pages created at ``times`` into parts of at most ``maximum`` pages.

    A minute is never split: a minute with more pages is a part of its own.
    """
    ordered = sorted(times)
    boundaries: list[str] = []
    start = 0
    while len(ordered) - start > maximum:
        beginning = bisect_left(ordered, ordered[start + maximum])
        start = beginning if beginning > start else bisect_right(ordered, ordered[start])
        if start < len(ordered):
            boundaries.append(ordered[start])
    return tuple(boundaries)
