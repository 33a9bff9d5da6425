"""The browser view of the workspace: databases as tables, pages with their properties and blocks.

``/`` is the workspace, ``/<id>`` a page or a database. The view is read-only. Templates escape all text; URLs are
validated when they are written.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from csm_core.notion_sandbox.errors import ApiError
from csm_core.notion_sandbox.filters import compile_sorts
from csm_core.notion_sandbox.properties import Schema, shown_value
from csm_core.notion_sandbox.request_values import block_tree, read_value
from csm_core.notion_sandbox.store import Store
from csm_core.notion_sandbox.store_file import Row
from csm_core.notion_sandbox.validation import as_id

ROWS_SHOWN = 50
LONGEST_SEARCH = 200

_TEMPLATES = Path(__file__).parent / "templates"
_STYLE_PATH = "/_assets/style.css"
_FILES = "/_files/"
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

Values = dict[str, Any]


class WebUi:
    """The browser view of one store, with the file ``path``."""

    def __init__(self, store: Store, path: Path) -> None:
        self._store = store
        self._file = path.name
        self._templates = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        request = Request(scope)
        with self._store.reading():
            response = self._respond(request)
        response.headers.update(_HEADERS)
        await response(scope, receive, send)

    def _respond(self, request: Request) -> Response:
        path = request.url.path
        if request.method not in ("GET", "HEAD"):
            return self._missing("This view is read-only.", HTTPStatus.METHOD_NOT_ALLOWED)
        if path == "/":
            return self._workspace()
        if path == _STYLE_PATH:
            return Response((_TEMPLATES / "style.css").read_bytes(), media_type="text/css")
        is_file = path.startswith(_FILES)
        try:
            identifier = as_id(path.removeprefix(_FILES).strip("/"), "path")
        except ApiError:
            return self._missing("Page not found.")
        if is_file:
            return self._uploaded(identifier)
        database = self._store.databases.find(identifier)
        if database is not None:
            return self._database(database, request)
        page = self._store.pages.find(identifier)
        if page is None:
            return self._missing("Page not found.")
        return self._workspace() if page["id"] == self._store.root_id else self._page(page)

    def _uploaded(self, identifier: str) -> Response:
        file = self._store.files.find(identifier)
        if file is None or file["content"] is None:
            return self._missing("File not found.")
        return Response(file["content"], media_type=file["content_type"])

    def _workspace(self) -> Response:
        databases = [
            {
                **self._heading(row),
                "rows": sum(self._count(source) for source in self._store.sources.of_database(row["id"])),
            }
            for row in self._store.databases.all()
        ]
        root = self._store.pages.find(self._store.root_id)
        blocks = [
            block for block in self._store.blocks.children(self._store.root_id) if block["type"] != "child_database"
        ]
        return self._render(
            "workspace.html",
            title=root["title"] if root is not None else "Workspace",
            databases=databases,
            blocks=block_tree(self._store, blocks),
        )

    def _database(self, row: Row, request: Request) -> Response:
        sources = self._store.sources.of_database(row["id"])
        if not sources:
            return self._missing("This database has no data source.")
        asked = request.query_params
        source = next((item for item in sources if item["id"] == asked.get("source")), sources[0])
        schema: Schema = json.loads(source["properties"])
        columns = sorted(schema.values(), key=lambda config: config["type"] != "title")
        words = asked.get("q", "")[:LONGEST_SEARCH]
        sort = next((config for config in columns if config["id"] == asked.get("sort")), None)
        descending = asked.get("dir") == "desc"
        where = "source = ? and in_trash = 0 and instr(lower(title), lower(?)) > 0"
        found = self._store.pages.count(where, (source["seq"], words))
        number = min(_page_number(asked.get("page")), max(1, -(-found // ROWS_SHOWN)))
        order, bound = "pages.seq", ()
        if sort is not None:
            direction = "descending" if descending else "ascending"
            (term,) = compile_sorts([{"property": sort["id"], "direction": direction}], schema)
            order, bound = f"{term.sql}, pages.seq", term.parameters
        rows = self._store.pages.where(
            where, (source["seq"], words, *bound), order, ROWS_SHOWN, (number - 1) * ROWS_SHOWN
        )
        state = {"source": source["id"] if len(sources) > 1 else "", "q": words}
        ordered = {"sort": sort["id"] if sort else "", "dir": "desc" if sort and descending else ""}
        heading = self._heading(row)
        return self._render(
            "database.html",
            **heading,
            sources=[{"id": item["id"], "name": _text(item["title"])} for item in sources],
            source_id=source["id"],
            views=[_view_text(view) for view in self._store.views.where("database_id", row["id"])],
            columns=[
                {
                    "name": config["name"],
                    "type": config["type"],
                    "sorted": ("desc" if descending else "asc") if config is sort else "",
                    "link": _link(state, sort=config["id"], dir="desc" if config is sort and not descending else ""),
                }
                for config in columns
            ],
            rows=[self._row(item, columns) for item in rows],
            words=words,
            hidden=[(name, value) for name, value in {**ordered, "source": state["source"]}.items() if value],
            found=found,
            first=(number - 1) * ROWS_SHOWN + 1,
            last=min(found, number * ROWS_SHOWN),
            earlier=_link({**state, **ordered}, page=number - 1) if number > 1 else "",
            later=_link({**state, **ordered}, page=number + 1) if number * ROWS_SHOWN < found else "",
        )

    def _page(self, row: Row) -> Response:
        trail: list[Values] = []
        properties: list[Values] = []
        if row["source"] is not None:
            source = self._store.sources.by_seq(row["source"])
            database = self._store.databases.find(source["database_id"])
            if database is not None:
                trail.append(self._heading(database))
            schema: Schema = json.loads(source["properties"])
            properties = [
                {"name": config["name"], "type": config["type"], "value": self._value(config, row)}
                for config in schema.values()
                if config["type"] != "title"
            ]
        return self._render(
            "page.html",
            title=row["title"],
            icon=_icon(row["icon"]),
            trail=trail,
            in_trash=bool(row["in_trash"]),
            created=row["created_at"],
            edited=row["edited_at"],
            properties=properties,
            blocks=block_tree(self._store, self._store.blocks.children(row["id"])),
        )

    def _row(self, row: Row, columns: list[Values]) -> Values:
        return {
            "link": _address(row["id"]),
            "title": row["title"],
            "icon": _icon(row["icon"]),
            "values": [self._value(config, row) for config in columns if config["type"] != "title"],
        }

    def _value(self, config: Values, row: Row) -> Values:
        times = (f"{row['created_at']}:00Z", f"{row['edited_at']}:00Z")
        shown = shown_value(config, json.loads(row["properties"]), times)
        if config["type"] == "relation":
            return {"kind": "links", "links": self._related(shown["relation"]), "more": shown["has_more"]}
        if config["type"] == "people":
            people = [self._store.people.find(item["id"]) for item in shown["people"]]
            names = [person["name"] for person in people if person is not None]
            return {"kind": "text", "text": ", ".join(names)} if names else {"kind": "empty"}
        return read_value(shown)

    def _related(self, items: list[Values]) -> list[Values]:
        pages = [self._store.pages.find(item["id"]) for item in items]
        return [
            {"link": _address(page["id"]), "title": page["title"] or "Untitled"}
            for page in pages
            if page is not None and not page["in_trash"]
        ]

    def _heading(self, row: Row) -> Values:
        return {
            "link": _address(row["id"]),
            "title": _text(row["title"]),
            "icon": _icon(row["icon"]),
            "description": _text(row["description"]),
        }

    def _count(self, source: Row) -> int:
        return self._store.pages.count("source = ? and in_trash = 0", (source["seq"],))

    def _missing(self, message: str, status: HTTPStatus = HTTPStatus.NOT_FOUND) -> Response:
        return self._render("missing.html", status, title="Not found", message=message)

    def _render(self, template: str, status: HTTPStatus = HTTPStatus.OK, **values: Any) -> Response:
        page = self._templates.get_template(template).render(style=_STYLE_PATH, file=self._file, **values)
        return HTMLResponse(page, status)


def _address(identifier: str) -> str:
    return "/" + identifier.replace("-", "")


def _text(runs: str) -> str:
    return "".join(run["plain_text"] for run in json.loads(runs))


def _view_text(view: Row) -> str:
    """The name of a view, its type, and what it is grouped or dated by."""
    configuration = json.loads(view["configuration"] or "{}")
    group = configuration.get("group_by") or configuration.get("x_axis") or {}
    name = group.get("property_name") or configuration.get("date_property_name")
    return f"{view['name']} ({view['type']}{f' by {name}' if name else ''})"


def _icon(text: str | None) -> str:
    return "" if text is None else str(json.loads(text).get("emoji", "🔗"))


def _page_number(text: str | None) -> int:
    return int(text) if text is not None and re.fullmatch(r"[1-9]\d{0,6}", text) else 1


def _link(state: dict[str, str], **more: Any) -> str:
    return "?" + urlencode({name: value for name, value in {**state, **more}.items() if value})
