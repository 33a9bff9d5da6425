"""Reads the databases in Notion: the data source of each, and its pages, however many there are."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from notion_client import AsyncClient

from csm_core.errors import ConfigError, NotionError
from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion.databases import DatabaseSpec
from csm_core.publishing.notion.page_blocks import PAGE_SIZE
from csm_core.publishing.notion.retry import Caller
from csm_core.publishing.notion.rich_text import clean, plain
from csm_core.system.paging import Paging

# So many pages a query lists at most: https://developers.notion.com/guides/data-apis/query-large-data-sources
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
        """The parent of a new page: the database, or the data source where there are several."""
        if self.only_source:
            return {"type": "database_id", "database_id": self.database_id}
        return {"type": "data_source_id", "data_source_id": self.data_source_id}


class DatabaseReader:
    """The data sources of the four databases, each resolved once, and queries of their pages.

    ``database_ids`` and ``data_source_ids`` are ids by the name of their setting. Every method raises NotionError with
    Notion's message when a request is rejected or stays unanswered, ConfigError for a missing id.
    """

    def __init__(
        self,
        client: AsyncClient,
        caller: Caller,
        database_ids: Mapping[str, str],
        data_source_ids: Mapping[str, str],
    ) -> None:
        self._client = client
        self._caller = caller
        self._database_ids = database_ids
        self._chosen = data_source_ids
        self._sources: dict[str, DataSource] = {}
        self._windows: dict[str, tuple[str, ...]] = {}
        self._times: dict[str, dict[str, str]] = {}
        self._listed = QUERY_RESULTS

    async def source(self, spec: DatabaseSpec) -> DataSource:
        """The database's data source, resolved once: one is taken, of several the one that a setting chooses."""
        if spec.setting not in self._sources:
            self._sources[spec.setting] = await self._resolve(spec)
        return self._sources[spec.setting]

    def remember(self, spec: DatabaseSpec, source: DataSource, windows: Sequence[str] = ()) -> None:
        """Take a data source as resolved by an earlier run, and the times that part it into windows."""
        self._sources[spec.setting] = source
        self._windows[spec.setting] = tuple(windows)

    def windows(self, spec: DatabaseSpec) -> tuple[str, ...]:
        """The creation times that part a database into queries each of which can be listed; none if one lists all.

        Of all pages that were read or created here, so that a read after a large first publication knows them.
        """
        known = self._windows.get(spec.setting, ())
        found = windows_of(list(self._times.get(spec.setting, {}).values()), self._listed)
        return found if len(found) > len(known) else known

    def database_id(self, spec: DatabaseSpec) -> str:
        """The configured id. Raises ConfigError naming the setting where there is none."""
        found = self._database_ids.get(spec.setting, "")
        if not found:
            message = f"{spec.setting} is not set: the id of the database {spec.title!r}. `csm notion init` makes one."
            raise ConfigError(message)
        return found

    def chosen_source(self, spec: DatabaseSpec) -> str:
        """The data source that the settings choose; empty where they do not."""
        return self._chosen.get(spec.data_source_setting, "")

    async def find(self, spec: DatabaseSpec, account_id: str) -> list[dict[str, Any]]:
        """The database's pages of an account; what a select holds is for the caller to compare."""
        # The service's idea of equal may be wider than ours.
        wanted = clean(account_id).text
        condition = {"property": names.ACCOUNT_ID, "rich_text": {"equals": wanted}}
        found = await self.query_all(spec, condition)
        return [page for page in found if _value(page["properties"].get(names.ACCOUNT_ID)) == wanted]

    async def query_all(self, spec: DatabaseSpec, condition: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Every page that meets the condition, none twice, however many there are.

        A query that reports itself incomplete is continued from the creation time it got to, of which the pages are
        read again. A read of all pages that needed that learns windows of creation time, for the next one to read each
        page once; wherever these lie, together they are all of time.
        """
        source = await self.source(spec)
        found: dict[str, dict[str, Any]] = {}
        times = self.windows(spec) if condition is None else ()
        listed = 0
        for start, end in pairwise((None, *times, None)):
            listed = max(listed, await self._read_window(spec, source, condition, (start, end), found))
        if condition is None:
            self._times[spec.setting] = {key: str(page["created_time"]) for key, page in found.items()}
        if listed and condition is None:
            self._listed = min(self._listed, listed)
            self._windows[spec.setting] = windows_of(list(self._times[spec.setting].values()), listed)
        return list(found.values())

    async def _read_window(
        self,
        spec: DatabaseSpec,
        source: DataSource,
        condition: Mapping[str, Any] | None,
        window: tuple[str | None, str | None],
        found: dict[str, dict[str, Any]],
    ) -> int:
        """Add the pages created in a window; how many one query listed of it, 0 if that was all of them."""
        since, end = window
        most = 0
        while True:
            known = len(found)
            bounds = (condition, _created("on_or_after", since), _created("before", end))
            complete, last, listed = await self._query(source, _all_of(*bounds), found)
            if complete:
                return most
            most = max(most, listed)
            if last is None or (last == since and len(found) == known):
                message = f"{spec.title}: more pages were created in one minute ({since}) than a query can list"
                raise NotionError(message)
            since = last

    async def _query(
        self, source: DataSource, condition: Mapping[str, Any] | None, found: dict[str, dict[str, Any]]
    ) -> tuple[bool, str | None, int]:
        """Add what a query lists; whether that is all, the creation time it got to, how many pages it listed."""
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
                found[page["id"]] = page
                last = page["created_time"]
            listed += len(answer["results"])
            # Any of its answers may say that the query is cut off; what it lists all the same is in the others.
            complete = complete and answer.get("request_status", {}).get("type") != "incomplete"
            if not answer.get("has_more"):
                return complete, last, listed
            paging.follow(answer.get("next_cursor"), [page["id"] for page in answer["results"]])
            body["start_cursor"] = answer["next_cursor"]

    def note_created(self, spec: DatabaseSpec, page: Mapping[str, Any]) -> None:
        """Take a page that was just created into account for the windows of the next read."""
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
        titles = [name for name, value in described["properties"].items() if value["type"] == "title"]
        return DataSource(database_id, matching[0], titles[0], len(sources) == 1)


def page_facts(spec: DatabaseSpec, page: Mapping[str, Any]) -> dict[str, Any]:
    """A page as plain values by property name, with ``id``, ``name`` and ``url``; properties not there are None."""
    properties = page["properties"]
    found: dict[str, Any] = {"id": page["id"], "url": page.get("url"), "name": ""}
    for value in properties.values():
        if value.get("type") == "title":
            found["name"] = plain(value["title"])
    for wanted in spec.properties:
        if wanted.type != "title":
            found[wanted.name] = _value(properties.get(wanted.name))
    return found


def same_id(one: str, other: str) -> bool:
    """Whether two ids are the same, with or without hyphens."""
    return one.replace("-", "").lower() == other.replace("-", "").lower()


def _value(given: Mapping[str, Any] | None) -> Any:
    if given is None:
        return None
    kind = given["type"]
    value = given.get(kind)
    if kind == "rich_text":
        return plain(value or [])
    if kind in ("select", "status"):
        return value["name"] if value else None
    if kind == "date":
        return value["start"] if value else None
    return value


def _all_of(*conditions: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    given = [condition for condition in conditions if condition]
    return given[0] if len(given) == 1 else {"and": given} if given else None


def _created(when: str, time: str | None) -> Mapping[str, Any] | None:
    return {"timestamp": "created_time", "created_time": {when: time}} if time else None


def windows_of(times: Sequence[str], most: int) -> tuple[str, ...]:
    """The creation times at which to part pages created at ``times`` so that no part has more than ``most`` of them.

    A minute is never parted: one that has more is a part of its own.
    """
    ordered = sorted(times)
    found: list[str] = []
    start = 0
    while len(ordered) - start > most:
        beginning = bisect_left(ordered, ordered[start + most])
        start = beginning if beginning > start else bisect_right(ordered, ordered[start])
        if start < len(ordered):
            found.append(ordered[start])
    return tuple(found)
