"""Creates the four databases under a page (``csm notion init``) and checks them (``csm notion doctor``).

A second ``init`` adds missing properties and options; existing pages, properties, options and names do not change.
Databases are found by listing the children of the page, because Notion's search is not up to date. Requests are sent
with the rate limit and the retry policy of ``retry.Caller``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import httpx
from notion_client import AsyncClient

from csm_core.errors import InputError, NotionError
from csm_core.publishing.notion.databases import ACCOUNTS, DATABASES, DatabaseSpec, Property
from csm_core.publishing.notion.findings import (
    Finding,
    choose_source,
    examine_property,
    listed,
    new_finding,
    no_access,
    wrong_type,
)
from csm_core.publishing.notion.rate_limiter import RateLimiter
from csm_core.publishing.notion.retry import Caller, RequestRejected
from csm_core.publishing.notion.settings import DEFAULT_REQUESTS_PER_MINUTE
from csm_core.system.paging import Paging
from csm_core.system.text_table import counted, is_or_are

Object = dict[str, Any]


class Named(Protocol):
    """The part of ``NotionSettings`` that the checks need."""

    @property
    def database_ids(self) -> Mapping[str, str]:
        """Ids by the name of their setting."""
        ...

    @property
    def data_source_ids(self) -> Mapping[str, str]:
        """Chosen data sources by the name of their setting."""
        ...


async def init_workspace(
    client: AsyncClient,
    parent_page_id: str | None = None,
    known: Mapping[str, str] | None = None,
    *,
    caller: Caller | None = None,
    switched_off: Collection[str] = (),
) -> dict[str, str]:
    """Create or complete the four databases under a page; returns their ids by setting.

    Without a page, the only top-level page that is shared with the integration is used; the sandbox has one. A database
    that exists (in ``known``, ids by setting, or with the same title under the page) is kept, and missing properties
    and options are added. Raises InputError if the page or a known database cannot be found or a property has the wrong
    type, NotionError if Notion rejects a request or cannot be reached. ``switched_off`` are the switches of properties
    that are not created.
    """
    workspace = _Workspace(client, caller, switched_off)
    parent = await workspace.parent(parent_page_id)
    present = await workspace.databases_under(parent)
    ids: dict[str, str] = {}
    for spec in DATABASES:
        same = (known or {}).get(spec.setting) or present.get(spec.title)
        # A relation needs the data source of the accounts, so a new database is completed as well.
        ids[spec.setting] = await workspace.complete(spec, same or await workspace.create(spec, parent))
    return ids


async def databases_there(
    client: AsyncClient, parent_page_id: str, known: Mapping[str, str], *, caller: Caller | None = None
) -> dict[str, str]:
    """The ids, by setting, of the databases in ``known`` or with matching titles under the page. Read-only.

    Raises NotionError if Notion rejects a request or cannot be reached.
    """
    present = await _Workspace(client, caller).databases_under(parent_page_id)
    ids = {spec.setting: known.get(spec.setting) or present.get(spec.title) for spec in DATABASES}
    return {setting: database_id for setting, database_id in ids.items() if database_id}


async def doctor(
    client: AsyncClient, settings: Named, *, caller: Caller | None = None, switched_off: Collection[str] = ()
) -> list[Finding]:
    """The problems of the four databases, in their order; empty if there are none.

    Properties that are switched off are not missed. Raises NotionError if Notion cannot be reached.
    """
    workspace = _Workspace(client, caller, switched_off)
    findings: list[Finding] = []
    for spec in DATABASES:
        findings.extend(await workspace.examine(spec, settings))
    return findings


class _Workspace:
    """The requests of the set-up, with the retries of a caller."""

    def __init__(self, client: AsyncClient, caller: Caller | None, switched_off: Collection[str] = frozenset()) -> None:
        self._client = client
        self._caller = caller or Caller(RateLimiter(DEFAULT_REQUESTS_PER_MINUTE))
        self._switched_off = switched_off
        self._accounts_source = ""

    async def parent(self, page_id: str | None) -> str:
        if page_id is not None:
            try:
                page = await self._repeat(lambda: self._client.pages.retrieve(page_id))
            except RequestRejected as problem:
                if problem.status in (400, 404):
                    raise InputError(
                        f"The page {page_id} cannot be found. Check the page id, and share the page with the "
                        f"integration (··· → Connections). {problem}"
                    ) from problem
                raise
            if page.get("in_trash"):
                raise InputError(f"The page {page_id} is in the trash. Restore it, or use another page.")
            return str(page["id"])
        of_pages = {"property": "object", "value": "page"}
        answer = await self._repeat(lambda: self._client.search(filter=of_pages, page_size=100))
        tops = [page for page in answer["results"] if page["parent"]["type"] == "workspace"]
        if len(tops) != 1:
            raise InputError(
                f"{counted(len(tops), 'top-level page')} {is_or_are(len(tops))} shared with the integration; "
                "choose one: --parent PAGE_ID"
            )
        return str(tops[0]["id"])

    async def databases_under(self, page_id: str) -> dict[str, str]:
        """The ids of the databases under a page by title; of several with the same title, the oldest."""
        ids_by_title: dict[str, str] = {}
        more: Object = {}
        paging = Paging(f"the blocks of Notion's page {page_id}", NotionError)
        while True:
            answer = await self._repeat(lambda: self._client.blocks.children.list(page_id, page_size=100, **more))
            for block in answer["results"]:
                if block["type"] == "child_database" and not block.get("in_trash"):
                    ids_by_title.setdefault(block["child_database"]["title"], block["id"])
            if not answer.get("has_more"):
                return ids_by_title
            paging.follow(answer.get("next_cursor"), [block["id"] for block in answer["results"]])
            more["start_cursor"] = answer["next_cursor"]

    async def create(self, spec: DatabaseSpec, parent: str) -> str:
        """Create a database; after an uncertain answer, only if it is not under the page."""

        async def create() -> Object:
            created: Object = await self._client.databases.create(
                parent={"type": "page_id", "page_id": parent},
                title=[{"type": "text", "text": {"content": spec.title}}],
                description=[{"type": "text", "text": {"content": spec.description}}],
                icon={"type": "emoji", "emoji": spec.emoji},
                initial_data_source={"properties": spec.schema(self._switched_off)},
            )
            return created

        async def find_created() -> Object | None:
            database_id = (await self.databases_under(parent)).get(spec.title)
            return {"id": database_id} if database_id else None

        database = await _with_advice(self._caller.write_once(create, find_created, lambda _: None))
        return str(database["id"])

    async def complete(self, spec: DatabaseSpec, database_id: str) -> str:
        try:
            database = await self._repeat(lambda: self._client.databases.retrieve(database_id))
        except RequestRejected as problem:
            if problem.status in (400, 404):
                raise InputError(no_access(spec, database_id, problem).message) from problem
            raise
        sources = database["data_sources"]
        if len(sources) != 1:
            raise InputError(
                f"{spec.title} ({spec.setting}) has {len(sources)} data sources: {listed(sources)}. "
                "`csm notion init` needs a database with one data source; move the others to another database."
            )
        source = await self._repeat(lambda: self._client.data_sources.retrieve(sources[0]["id"]))
        if spec is ACCOUNTS:
            self._accounts_source = str(source["id"])
        present: dict[str, Object] = source["properties"]
        wanted = [item for item in spec.wanted(self._switched_off) if item.type != "title"]
        wrong = [
            f"{item.name} {problem}"
            for item in wanted
            if not item.switch and item.name in present and (problem := wrong_type(item, present[item.name]))
        ]
        if wrong:
            raise InputError(
                f"{spec.title} ({spec.setting}): {'; '.join(wrong)}. Change the type in Notion, or rename the "
                "property, and run init again."
            )
        missing = {
            item.name: config
            for item in wanted
            if (config := _completion(item, present.get(item.name), self._accounts_source))
        }
        if missing:
            answer = await self._repeat(lambda: self._client.data_sources.update(source["id"], properties=missing))
            await self._name_other_sides([item for item in wanted if item.name in missing], answer["properties"])
        return database_id

    async def _name_other_sides(self, created: Sequence[Property], properties: Mapping[str, Object]) -> None:
        """Name the other sides of new relations, if Notion gave them names of its own."""
        names: Object = {}
        for item in created:
            dual = properties.get(item.name, {}).get("relation", {}).get("dual_property", {})
            if item.synced_name and dual.get("synced_property_name", item.synced_name) != item.synced_name:
                names[dual["synced_property_id"]] = {"name": item.synced_name}
        if names:
            try:
                await self._repeat(lambda: self._client.data_sources.update(self._accounts_source, properties=names))
            except RequestRejected as problem:
                # The accounts have another property of this name; Notion's name is as good.
                if problem.status != 400:
                    raise

    async def examine(self, spec: DatabaseSpec, settings: Named) -> list[Finding]:
        database_id = settings.database_ids.get(spec.setting)
        if not database_id:
            message = f"{spec.title} has no id set. Run: csm notion init --parent PAGE_ID"
            return [new_finding(spec, "not_configured", message)]
        try:
            database = await self._repeat(lambda: self._client.databases.retrieve(database_id))
            if database.get("in_trash"):
                return [
                    new_finding(
                        spec,
                        "in_trash",
                        f"{spec.title} is in the trash. Restore it, or set {spec.setting} to another database.",
                    )
                ]
            source_id, problems = choose_source(spec, database, settings.data_source_ids.get(spec.data_source_setting))
            if source_id is None:
                return problems
            source = await self._repeat(lambda: self._client.data_sources.retrieve(source_id))
        except RequestRejected as problem:
            if problem.status in (400, 401, 403, 404):
                return [no_access(spec, database_id, problem)]
            raise
        if spec is ACCOUNTS:
            self._accounts_source = str(source["id"])
        return [
            finding
            for item in spec.wanted(self._switched_off)
            for finding in examine_property(spec, item, source["properties"], self._accounts_source)
        ]

    async def _repeat(self, request: Callable[[], Any]) -> Object:
        """Send a read, or an update that may be repeated."""
        return await _with_advice(self._caller.repeat(request))


async def _with_advice(answer: Awaitable[Object]) -> Object:
    try:
        return await answer
    except RequestRejected:
        raise
    except NotionError as problem:
        cause = problem.__cause__
        if isinstance(cause, httpx.TransportError):
            raise NotionError(
                f"Notion cannot be reached: {type(cause).__name__}. Check the network and NOTION_BASE_URL."
            ) from cause
        raise


def _completion(wanted: Property, present: Object | None, accounts_source: str) -> Object | None:
    """The update for a property: its definition if it is missing, its options plus missing ones, or None."""
    if wanted.type == "title":
        return None
    if present is None:
        return wanted.config(accounts_source)
    if wanted.type != "select" or present["type"] != "select":
        return None
    options = present["select"]["options"]
    names = {option["name"] for option in options}
    added = [{"name": name, "color": color} for name, color in wanted.options if name not in names]
    if not added:
        return None
    # An update replaces the list of options, so the existing options are included by id.
    kept = [{"id": option["id"], "name": option["name"], "color": option["color"]} for option in options]
    return {"select": {"options": [*kept, *added]}}
