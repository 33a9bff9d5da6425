"""The views of the databases, which ``csm notion init`` creates once.

The ledger records each view that was created. A view that is in the ledger, or has the name of one, is never changed
and never created again, so users may change, rename and delete views.
See https://developers.notion.com/guides/data-apis/working-with-views
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from notion_client import AsyncClient

from csm_core.errors import NotionError
from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion.databases import ACCOUNTS, QBRS, VIEW, DatabaseSpec, same_id
from csm_core.publishing.notion.ledger import Ledger, Page
from csm_core.publishing.notion.page_blocks import PAGE_SIZE
from csm_core.publishing.notion.retry import Caller, RequestRejected
from csm_core.system.paging import Paging

Object = dict[str, Any]

# How a view groups by a property of each type.
_GROUPING: dict[str, Object] = {
    "select": {"type": "select", "sort": {"type": "manual"}},
    "people": {"type": "person", "sort": {"type": "manual"}},
    "rich_text": {"type": "text", "group_by": "exact", "sort": {"type": "descending"}},
}


@dataclass(frozen=True)
class View:
    """A view of a database: ``group`` and ``date`` are properties that it is arranged by, ``shown`` those on its cards.

    ``alternative`` is created if Notion rejects the view.
    """

    spec: DatabaseSpec
    name: str
    type: str
    group: str = ""
    date: str = ""
    shown: tuple[str, ...] = ()
    sort: str = ""
    people_filter: tuple[str, Object] | None = None
    alternative: View | None = None

    @property
    def key(self) -> str:
        """The key in the ledger; it has no account."""
        return json.dumps(["", self.name])

    def needed(self) -> set[str]:
        """The properties without which there is no such view."""
        filtered = self.people_filter[0] if self.people_filter else ""
        return {self.group, self.date, self.sort, filtered} - {""}

    def request(self, properties: Mapping[str, Object]) -> Object:
        """The name, type, filter, sorts and configuration in the API's format."""
        configuration: Object = {"type": self.type}
        if self.group:
            config = properties[self.group]
            grouping = {**_GROUPING[config["type"]], "property_id": config["id"]}
            configuration["x_axis" if self.type == "chart" else "group_by"] = grouping
        if self.type == "chart":
            configuration |= {"chart_type": "column", "y_axis": {"aggregator": "count"}}
        if self.date:
            configuration |= {"date_property_id": properties[self.date]["id"], "view_range": "month"}
        shown = [properties[name]["id"] for name in self.shown if name in properties]
        if shown:
            configuration["properties"] = [{"property_id": one, "visible": True} for one in shown]
        body: Object = {"name": self.name, "type": self.type, "configuration": configuration}
        if self.sort:
            body["sorts"] = [{"property": self.sort, "direction": "ascending"}]
        if self.people_filter:
            name, condition = self.people_filter
            body["filter"] = {"property": name, "people": condition}
        return body


_MINE = View(
    ACCOUNTS,
    "Mine",
    "table",
    sort=names.CSM_HEALTH_SCORE,
    people_filter=(names.CSM_OWNER, {"contains": "me"}),
)
_CARD = (names.CSM_HEALTH_SCORE, names.CSM_CHURN_RISK, names.CSM_OWNER, names.CSM_MRR, names.CSM_RENEWAL)
VIEWS: tuple[View, ...] = (
    View(ACCOUNTS, "By RAG", "board", group=names.CSM_HEALTH_RAG, shown=_CARD, sort=names.CSM_HEALTH_SCORE),
    # The reference of the API names only ids of users as values of a people filter. If "me" is rejected, the table
    # has the accounts of each owner in a group.
    replace(
        _MINE,
        alternative=replace(_MINE, group=names.CSM_OWNER, people_filter=(names.CSM_OWNER, {"is_not_empty": True})),
    ),
    View(ACCOUNTS, "Bands", "chart", group=names.CSM_HEALTH_RAG),
    View(ACCOUNTS, "Renewals", "calendar", date=names.CSM_RENEWAL, shown=(names.CSM_HEALTH_RAG, names.CSM_MRR)),
    View(QBRS, "By quarter", "table", group=names.PERIOD),
)


async def create_views(
    client: AsyncClient, caller: Caller, ledger: Ledger, database_ids: Mapping[str, str]
) -> list[str]:
    """Create the views that were never created in these databases; returns a line for each that Notion rejected.

    A view of a property that the database lacks is left out until the database has the property. If all views were
    created before, no request is sent. Raises NotionError if Notion cannot be reached.
    """
    recorded = ledger.pages(VIEW)
    notes: list[str] = []
    for spec in (ACCOUNTS, QBRS):
        database_id = database_ids[spec.setting]
        missing = [view for view in VIEWS if view.spec is spec and not _is_recorded(recorded, view, database_id)]
        if missing:
            notes += await _Database(client, caller, ledger, spec, database_id).create(missing)
    return notes


def _is_recorded(recorded: Mapping[str, Page], view: View, database_id: str) -> bool:
    page = recorded.get(view.key)
    return page is not None and same_id(str(page.facts.get("database_id", "")), database_id)


class _Database:
    """The views of one database with one data source."""

    def __init__(
        self, client: AsyncClient, caller: Caller, ledger: Ledger, spec: DatabaseSpec, database_id: str
    ) -> None:
        self._client = client
        self._caller = caller
        self._ledger = ledger
        self._spec = spec
        self._id = database_id

    async def create(self, views: Sequence[View]) -> list[str]:
        database = await self._caller.repeat(lambda: self._client.databases.retrieve(self._id))  # pyright: ignore[reportReturnType]
        source_id = str(database["data_sources"][0]["id"])
        source = await self._caller.repeat(lambda: self._client.data_sources.retrieve(source_id))  # pyright: ignore[reportReturnType]
        types = {item.name: item.type for item in self._spec.properties}
        properties = {
            name: config for name, config in source["properties"].items() if config["type"] == types.get(name)
        }
        present = await self._ids_by_name()
        notes: list[str] = []
        for view in views:
            if not view.needed() <= properties.keys():
                continue
            try:
                view_id = present.get(view.name) or await self._create(view, source_id, properties)
            except RequestRejected as rejected:
                notes.append(f"The view {view.name} of {self._spec.title} was not created. {rejected}")
                continue
            page = Page(VIEW, view.key, view_id, "", facts={"database_id": self._id})
            self._ledger.store(self._spec, [page])
        return notes

    async def _create(self, view: View, source_id: str, properties: Mapping[str, Object]) -> str:
        body = view.request(properties)

        async def find_created() -> Object | None:
            view_id = (await self._ids_by_name()).get(view.name)
            return {"id": view_id} if view_id else None

        try:
            created = await self._caller.write_once(
                lambda: self._client.views.create(database_id=self._id, data_source_id=source_id, **body),  # pyright: ignore[reportArgumentType]
                find_created,
                lambda answer: {"id": answer["committed_resource_id"]} if answer.get("committed_resource_id") else None,
            )
        except RequestRejected as rejected:
            if view.alternative is None or rejected.status != 400:
                raise
            return await self._create(view.alternative, source_id, properties)
        return str(created["id"])

    async def _ids_by_name(self) -> dict[str, str]:
        """The views in the tabs of the database; of several with the same name, the first."""
        ids: list[str] = []
        more: Object = {"page_size": PAGE_SIZE}
        paging = Paging(f"the views of Notion's database {self._id}", NotionError)
        while True:
            answer = await self._caller.repeat(lambda: self._client.views.list(database_id=self._id, **more))  # pyright: ignore[reportReturnType]
            ids += [str(one["id"]) for one in answer["results"]]
            if not answer.get("has_more"):
                break
            paging.follow(answer.get("next_cursor"), [one["id"] for one in answer["results"]])
            more["start_cursor"] = answer["next_cursor"]
        by_name: dict[str, str] = {}
        for view_id in ids:
            # A list has only ids.
            view = await self._caller.repeat(lambda view_id=view_id: self._client.views.retrieve(view_id))  # pyright: ignore[reportReturnType]
            by_name.setdefault(str(view.get("name", "")), view_id)
        return by_name
