"""Creates the four databases under a page (``csm notion init``) and checks them (``csm notion doctor``).

A second ``init`` adds missing properties and options; existing pages, properties, options and names do not change.
Databases are found by listing the children of the page, because Notion's search is not up to date. Requests are sent
with the rate limit and the retry policy of ``retry.Caller``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
from notion_client import AsyncClient

from csm_core.errors import InputError, NotionError
from csm_core.publishing.notion.databases import DATABASES, DatabaseSpec, Property
from csm_core.publishing.notion.rate_limiter import RateLimiter
from csm_core.publishing.notion.retry import Caller, RequestRejected
from csm_core.publishing.notion.settings import DEFAULT_REQUESTS_PER_MINUTE
from csm_core.system.paging import Paging
from csm_core.system.text_table import counted, is_or_are

MAX_SELECT_OPTIONS = 100

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


@dataclass(frozen=True)
class Finding:
    """A problem of a database: ``setting`` names the database, ``problem`` is a code, ``message`` is for users.

    Problems: ``not_configured``, ``no_access``, ``in_trash``, ``several_data_sources``, ``missing_property``,
    ``wrong_type``, ``missing_option``, ``options_full``.
    """

    setting: str
    database: str
    problem: str
    property: str | None
    message: str
    blocking: bool = True

    def as_dict(self) -> Object:
        """The JSON object of this finding."""
        return {
            "setting": self.setting,
            "database": self.database,
            "problem": self.problem,
            "property": self.property,
            "message": self.message,
            "blocking": self.blocking,
        }


async def init_workspace(
    client: AsyncClient,
    parent_page_id: str | None = None,
    known: Mapping[str, str] | None = None,
    *,
    caller: Caller | None = None,
) -> dict[str, str]:
    """Create or complete the four databases under a page; returns their ids by setting.

    Without a page, the only top-level page that is shared with the integration is used; the sandbox has one. A database
    that exists (in ``known``, ids by setting, or with the same title under the page) is kept, and missing properties
    and options are added. Raises InputError if the page or a known database cannot be found or a property has the wrong
    type, NotionError if Notion rejects a request or cannot be reached.
    """
    workspace = _Workspace(client, caller)
    parent = await workspace.parent(parent_page_id)
    present = await workspace.databases_under(parent)
    ids: dict[str, str] = {}
    for spec in DATABASES:
        same = (known or {}).get(spec.setting) or present.get(spec.title)
        ids[spec.setting] = await (workspace.complete(spec, same) if same else workspace.create(spec, parent))
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


async def doctor(client: AsyncClient, settings: Named, *, caller: Caller | None = None) -> list[Finding]:
    """The problems of the four databases, in their order; empty if there are none.

    Raises NotionError if Notion cannot be reached.
    """
    workspace = _Workspace(client, caller)
    findings: list[Finding] = []
    for spec in DATABASES:
        findings.extend(await workspace.examine(spec, settings))
    return findings


class _Workspace:
    """The requests of the set-up, with the retries of a caller."""

    def __init__(self, client: AsyncClient, caller: Caller | None) -> None:
        self._client = client
        self._caller = caller or Caller(RateLimiter(DEFAULT_REQUESTS_PER_MINUTE))

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
                initial_data_source={"properties": spec.schema()},
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
                raise InputError(_no_access(spec, database_id, problem).message) from problem
            raise
        sources = database["data_sources"]
        if len(sources) != 1:
            raise InputError(
                f"{spec.title} ({spec.setting}) has {len(sources)} data sources: {_listed(sources)}. "
                "`csm notion init` needs a database with one data source; move the others to another database."
            )
        source = await self._repeat(lambda: self._client.data_sources.retrieve(sources[0]["id"]))
        present: dict[str, Object] = source["properties"]
        wrong = [
            f"{item.name} is {present[item.name]['type']}, expected {item.type}"
            for item in spec.properties
            if item.type != "title" and item.name in present and present[item.name]["type"] != item.type
        ]
        if wrong:
            raise InputError(
                f"{spec.title} ({spec.setting}): {'; '.join(wrong)}. Change the type in Notion, or rename the "
                "property, and run init again."
            )
        missing = {
            item.name: config for item in spec.properties if (config := _completion(item, present.get(item.name)))
        }
        if missing:
            await self._repeat(lambda: self._client.data_sources.update(source["id"], properties=missing))
        return database_id

    async def examine(self, spec: DatabaseSpec, settings: Named) -> list[Finding]:
        database_id = settings.database_ids.get(spec.setting)
        if not database_id:
            message = f"{spec.title} has no id set. Run: csm notion init --parent PAGE_ID"
            return [_finding(spec, "not_configured", message)]
        try:
            database = await self._repeat(lambda: self._client.databases.retrieve(database_id))
            if database.get("in_trash"):
                return [
                    _finding(
                        spec,
                        "in_trash",
                        f"{spec.title} is in the trash. Restore it, or set {spec.setting} to another database.",
                    )
                ]
            source_id, problems = _choose_source(spec, database, settings.data_source_ids.get(spec.data_source_setting))
            if source_id is None:
                return problems
            source = await self._repeat(lambda: self._client.data_sources.retrieve(source_id))
        except RequestRejected as problem:
            if problem.status in (400, 401, 403, 404):
                return [_no_access(spec, database_id, problem)]
            raise
        return [finding for item in spec.properties for finding in _examine_property(spec, item, source["properties"])]

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


def _completion(wanted: Property, present: Object | None) -> Object | None:
    """The update for a property: its definition if it is missing, its options plus missing ones, or None."""
    if wanted.type == "title":
        return None
    if present is None:
        return wanted.config()
    if wanted.type != "select":
        return None
    options = present["select"]["options"]
    names = {option["name"] for option in options}
    added = [{"name": name, "color": color} for name, color in wanted.options if name not in names]
    if not added:
        return None
    # An update replaces the list of options, so the existing options are included by id.
    kept = [{"id": option["id"], "name": option["name"], "color": option["color"]} for option in options]
    return {"select": {"options": [*kept, *added]}}


def _choose_source(spec: DatabaseSpec, database: Object, chosen: str | None) -> tuple[str | None, list[Finding]]:
    sources = database["data_sources"]
    if chosen is not None:
        bare = chosen.replace("-", "").lower()
        for source in sources:
            if source["id"].replace("-", "") == bare:
                return source["id"], []
        message = (
            f"{spec.data_source_setting} is {chosen}, which is not a data source of {spec.title}: {_listed(sources)}"
        )
        return None, [_finding(spec, "several_data_sources", message)]
    if len(sources) == 1:
        return sources[0]["id"], []
    message = (
        f"{spec.title} has {len(sources)} data sources: {_listed(sources)}. Choose one: {spec.data_source_setting}=ID"
    )
    return None, [_finding(spec, "several_data_sources", message)]


def _examine_property(spec: DatabaseSpec, wanted: Property, present: Mapping[str, Object]) -> list[Finding]:
    if wanted.type == "title":
        return []
    config = present.get(wanted.name)
    if config is None:
        message = f"{spec.title} has no property {wanted.name} ({wanted.type}). Run csm notion init, or add it."
        return [_finding(spec, "missing_property", message, wanted.name)]
    if config["type"] != wanted.type:
        message = (
            f"{wanted.name} of {spec.title} is {config['type']}, expected {wanted.type}. Change its type in Notion."
        )
        return [_finding(spec, "wrong_type", message, wanted.name)]
    return _examine_options(spec, wanted, config) if wanted.type == "select" else []


def _examine_options(spec: DatabaseSpec, wanted: Property, config: Object) -> list[Finding]:
    options = config["select"]["options"]
    names = {option["name"] for option in options}
    missing = [name for name, _ in wanted.options if name not in names]
    if not missing:
        return []
    listed = ", ".join(missing)
    if len(options) + len(missing) > MAX_SELECT_OPTIONS:
        message = (
            f"{wanted.name} of {spec.title} has {counted(len(options), 'option')}, so {listed} cannot be added. "
            f"Notion allows {MAX_SELECT_OPTIONS}: remove options that no page uses."
        )
        return [_finding(spec, "options_full", message, wanted.name)]
    message = f"{wanted.name} of {spec.title} lacks the options {listed}. Publishing adds them when needed."
    return [_finding(spec, "missing_option", message, wanted.name, blocking=False)]


def _no_access(spec: DatabaseSpec, database_id: str, problem: RequestRejected) -> Finding:
    if problem.status == 401:
        advice = "Notion rejected the token. Set NOTION_TOKEN to the integration's secret."
    elif problem.status == 404:
        advice = (
            f"The integration cannot see a database {database_id}. Correct {spec.setting}, or share the database "
            "with the integration (··· → Connections)."
        )
    elif problem.status == 403:
        advice = "The integration lacks the capability to read content. Enable it in the integration's settings."
    else:
        advice = f"{spec.setting} is not a database id."
    return _finding(spec, "no_access", f"{spec.title}: {advice} {problem}")


def _finding(
    spec: DatabaseSpec, problem: str, message: str, name: str | None = None, *, blocking: bool = True
) -> Finding:
    return Finding(spec.setting, spec.title, problem, name, message, blocking)


def _listed(sources: list[Object]) -> str:
    return ", ".join(f"{source['name']} ({source['id']})" for source in sources) or "none"
