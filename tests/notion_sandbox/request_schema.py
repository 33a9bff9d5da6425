"""The bodies of requests as Notion's reference describes them: all that we send, and nothing besides.

They are those of 2026-03-11; only appending blocks differs in 2025-09-03.

Written from https://developers.notion.com/reference (endpoints, property values, blocks, rich text, filters) and
https://developers.notion.com/reference/request-limits, apart from the code that makes the bodies and from the sandbox
that takes them. Types are strict: a number as text, or a field that is not there, is refused.
"""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

REQUEST_BYTES = 500_000
BLOCKS_IN_A_REQUEST = 1_000
ITEMS = 100
TEXT_UNITS = 2_000
OPTION_UNITS = 100

COLOURS = "default gray brown orange yellow green blue purple pink red"
OptionColour = Literal["default", "gray", "brown", "orange", "yellow", "green", "blue", "purple", "pink", "red"]


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _text(value: str) -> str:
    if _units(value) > TEXT_UNITS:
        raise ValueError(f"{_units(value)} UTF-16 units, at most {TEXT_UNITS}")
    if any(unicodedata.category(one) in ("Cc", "Cs") and one not in "\n\t" for one in value):
        raise ValueError("a control character or half of a surrogate pair")
    return value


def _option(value: str) -> str:
    if not value.strip() or "," in value or _units(value) > OPTION_UNITS:
        raise ValueError("an option's name has 1 to 100 characters and no comma")
    return _text(value)


def _colour(value: str) -> str:
    if value.removesuffix("_background") not in COLOURS.split():
        raise ValueError("no colour of Notion")
    return value


def _id(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", value.replace("-", "").lower()):
        raise ValueError("no UUID")
    return value


def _moment(value: str) -> str:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?", value):
        raise ValueError("no ISO 8601 date or time")
    (date if len(value) == 10 else datetime).fromisoformat(value)
    return value


def _emoji(value: str) -> str:
    if not value or all(unicodedata.category(one)[0] in "LNPZ" for one in value):
        raise ValueError("no emoji")
    return value


Text = Annotated[str, AfterValidator(_text)]
OptionName = Annotated[str, AfterValidator(_option)]
Colour = Annotated[str, AfterValidator(_colour)]
Id = Annotated[str, AfterValidator(_id)]
Moment = Annotated[str, AfterValidator(_moment)]
Url = Annotated[str, Field(pattern=r"^(https?://|mailto:)\S+$", max_length=2_000)]
Number = Annotated[float, Field(allow_inf_nan=False)]
PageSize = Annotated[int, Field(ge=1, le=100)]


class Body(BaseModel):
    """Strict, and closed."""

    model_config = ConfigDict(strict=True, extra="forbid")


class _OneOf(Body):
    """Of the fields that may be null by themselves, exactly so many as a subclass says are given."""

    @model_validator(mode="after")
    def _exactly_one(self) -> _OneOf:
        given = self.model_fields_set - {"type", "object", "name", "description", "in_trash"}
        if len(given) != 1:
            raise ValueError(f"exactly one of the fields is given, not {sorted(given)}")
        (kind,) = given
        stated = getattr(self, "type", None)
        if stated is not None and stated != kind:
            raise ValueError(f"type is {stated}, and {kind} is given")
        return self


# -- rich text


class Link(Body):
    url: Url


class Words(Body):
    content: Text
    link: Link | None = None


class Annotations(Body):
    bold: bool = False
    italic: bool = False
    strikethrough: bool = False
    underline: bool = False
    code: bool = False
    color: Colour = "default"


class Run(Body):
    type: Literal["text"] = "text"
    text: Words
    annotations: Annotations | None = None


Runs = Annotated[list[Run], Field(max_length=ITEMS)]


class Emoji(Body):
    type: Literal["emoji"] = "emoji"
    emoji: Annotated[str, AfterValidator(_emoji)]


# -- blocks


class Content(Body):
    rich_text: Runs
    color: Colour = "default"


class Heading(Content):
    is_toggleable: bool = False


class Callout(Content):
    icon: Emoji | None = None


class Row(Body):
    cells: Annotated[list[Runs], Field(max_length=ITEMS)]


class ChildBlock(_OneOf):
    """A block on the second level, which has no children here."""

    object: Literal["block"] = "block"
    type: str | None = None
    paragraph: Content | None = None
    heading_1: Heading | None = None
    heading_2: Heading | None = None
    heading_3: Heading | None = None
    bulleted_list_item: Content | None = None
    numbered_list_item: Content | None = None
    callout: Callout | None = None
    table_row: Row | None = None


class Table(Body):
    table_width: int
    has_column_header: bool = False
    has_row_header: bool = False
    children: Annotated[list[ChildBlock], Field(min_length=1, max_length=ITEMS)]


class Toggle(Content):
    children: Annotated[list[ChildBlock], Field(max_length=ITEMS)]


class UploadId(Body):
    id: Id


class Image(Body):
    file_upload: UploadId
    caption: Runs


class Block(ChildBlock):
    table: Table | None = None
    toggle: Toggle | None = None
    image: Image | None = None


class BlockUpdate(_OneOf):
    """A block keeps its type; what is not named stays."""

    type: str | None = None
    in_trash: bool | None = None
    image: Image | None = None
    paragraph: Content | None = None
    heading_1: Heading | None = None
    heading_2: Heading | None = None
    heading_3: Heading | None = None
    bulleted_list_item: Content | None = None
    numbered_list_item: Content | None = None
    callout: Callout | None = None
    table_row: Row | None = None


Blocks = Annotated[list[Block], Field(max_length=ITEMS)]


class NewUpload(Body):
    filename: str = Field(min_length=1, max_length=900)
    content_type: Literal["image/png"]


class AfterBlock(Body):
    id: Id


class Position(Body):
    type: Literal["after_block"]
    after_block: AfterBlock


class Append(Body):
    """Appending in 2026-03-11."""

    children: Blocks
    position: Position | None = None


class OlderAppend(Body):
    """Appending in 2025-09-03."""

    children: Blocks
    after: Id | None = None


# -- values of pages


class Option(Body):
    """An option by its name, or by its id."""

    id: str | None = None
    name: OptionName | None = None
    color: OptionColour | None = None
    description: Text | None = None

    @model_validator(mode="after")
    def _named(self) -> Option:
        if self.id is None and self.name is None:
            raise ValueError("an option has a name or an id")
        return self


class Day(Body):
    start: Moment
    end: Moment | None = None
    time_zone: str | None = None


class RelatedPage(Body):
    id: Id


class User(Body):
    object: Literal["user"] = "user"
    id: Id


class Value(_OneOf):
    type: str | None = None
    title: Runs | None = None
    rich_text: Runs | None = None
    number: Number | None = None
    select: Option | None = None
    date: Day | None = None
    checkbox: bool | None = None
    relation: Annotated[list[RelatedPage], Field(max_length=ITEMS)] | None = None
    people: Annotated[list[User], Field(max_length=ITEMS)] | None = None

    @model_validator(mode="after")
    def _not_null(self) -> Value:
        for name in ("title", "rich_text", "checkbox", "relation", "people"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null")
        return self


class PageParent(Body):
    type: Literal["page_id"] = "page_id"
    page_id: Id


class DatabaseParent(Body):
    type: Literal["database_id"] = "database_id"
    database_id: Id


class SourceParent(Body):
    type: Literal["data_source_id"] = "data_source_id"
    data_source_id: Id


class TitleOnly(Body):
    """Under a page, the title is the only property, and may be given as bare runs."""

    title: Runs | Value


class Template(Body):
    type: Literal["template_id"]
    template_id: Id


class NewPage(Body):
    parent: PageParent | DatabaseParent | SourceParent
    properties: TitleOnly | dict[str, Value]
    children: Blocks = []
    icon: Emoji | None = None
    template: Template | None = None

    @model_validator(mode="after")
    def _a_template_stands_alone(self) -> NewPage:
        if self.template and ("children" in self.model_fields_set or not isinstance(self.parent, SourceParent)):
            raise ValueError("a template goes with a data source and without children")
        return self


class PageUpdate(Body):
    properties: dict[str, Value] | None = None
    in_trash: bool | None = None
    icon: Emoji | None = None


# -- databases and data sources


class Options(Body):
    options: Annotated[list[Option], Field(max_length=ITEMS)] | None = None


class Empty(Body):
    pass


class NumberFormat(Body):
    format: str | None = None


class OtherSide(Body):
    synced_property_id: str | None = None
    synced_property_name: Text | None = None


class Relation(Body):
    """To the pages of a data source: with a property on its side (dual), or without (single)."""

    data_source_id: Id
    type: Literal["single_property", "dual_property"] | None = None
    single_property: Empty | None = None
    dual_property: OtherSide | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Relation:
        given = self.model_fields_set & {"single_property", "dual_property"}
        if len(given) != 1 or (self.type is not None and {self.type} != given):
            raise ValueError("exactly one of single_property and dual_property is given, as the type says")
        return self


class Config(_OneOf):
    type: str | None = None
    name: Text | None = None
    description: Text | None = None
    title: Empty | None = None
    rich_text: Empty | None = None
    number: NumberFormat | None = None
    select: Options | None = None
    date: Empty | None = None
    checkbox: Empty | None = None
    people: Empty | None = None
    relation: Relation | None = None


class Renamed(Body):
    name: Text


class TypedPageParent(Body):
    """Of a new database: here the type has to be said."""

    type: Literal["page_id"]
    page_id: Id


class InitialSource(Body):
    properties: dict[str, Config]


class NewDatabase(Body):
    parent: TypedPageParent
    title: Runs = []
    description: Runs = []
    is_inline: bool = False
    icon: Emoji | None = None
    initial_data_source: InitialSource


class NewSource(Body):
    parent: DatabaseParent
    title: Runs = []
    properties: dict[str, Config]


class DatabaseUpdate(Body):
    title: Runs | None = None
    description: Runs | None = None
    in_trash: bool | None = None


class SourceUpdate(Body):
    title: Runs | None = None
    properties: dict[str, Config | Renamed | None]


# -- queries


class Equals(Body):
    equals: Text


class PropertyFilter(Body):
    property: Text
    rich_text: Equals


class When(_OneOf):
    before: Moment | None = None
    after: Moment | None = None
    on_or_before: Moment | None = None
    on_or_after: Moment | None = None
    equals: Moment | None = None


class CreatedFilter(Body):
    timestamp: Literal["created_time"]
    created_time: When


class EditedFilter(Body):
    timestamp: Literal["last_edited_time"]
    last_edited_time: When


Simple = PropertyFilter | CreatedFilter | EditedFilter


class All(Body):
    """Conditions may be nested two deep; ours never are."""

    model_config = ConfigDict(strict=True, extra="forbid", populate_by_name=True)
    conditions: Annotated[list[Simple], Field(max_length=ITEMS, alias="and")]


class TimeSort(Body):
    timestamp: Literal["created_time", "last_edited_time"]
    direction: Literal["ascending", "descending"]


class Query(Body):
    filter: Simple | All | None = None
    sorts: Annotated[list[TimeSort], Field(max_length=ITEMS)] = []
    start_cursor: str | None = None
    page_size: PageSize = 100


class Sorting(Body):
    type: Literal["manual", "ascending", "descending"]


class Grouping(Body):
    type: Literal["select", "person", "text"]
    property_id: str
    group_by: Literal["exact"] | None = None
    sort: Sorting


class Count(Body):
    aggregator: Literal["count"]


class ShownProperty(Body):
    property_id: str
    visible: bool


class TableOrBoard(Body):
    type: Literal["table", "board"]
    group_by: Grouping | None = None
    properties: list[ShownProperty] | None = None


class Calendar(Body):
    type: Literal["calendar"]
    date_property_id: str
    view_range: Literal["week", "month"]
    properties: list[ShownProperty] | None = None


class Chart(Body):
    type: Literal["chart"]
    chart_type: Literal["column", "bar", "line", "donut", "number"]
    x_axis: Grouping
    y_axis: Count


class PeopleCondition(Body):
    contains: str | None = None
    is_not_empty: Literal[True] | None = None


class PeopleFilter(Body):
    property: str
    people: PeopleCondition


class SortBy(Body):
    property: str
    direction: Literal["ascending", "descending"]


class NewView(Body):
    database_id: Id
    data_source_id: Id
    name: str = Field(min_length=1)
    type: Literal["table", "board", "calendar", "chart"]
    configuration: TableOrBoard | Calendar | Chart
    filter: PeopleFilter | None = None
    sorts: list[SortBy] | None = None


class ObjectFilter(Body):
    property: Literal["object"]
    value: Literal["page", "data_source"]


class Search(Body):
    query: str | None = None
    filter: ObjectFilter | None = None
    start_cursor: str | None = None
    page_size: PageSize = 100


class Listing(RootModel[dict[Literal["page_size", "start_cursor", "database_id"], str]]):
    """The query string of a listing."""

    @model_validator(mode="after")
    def _sized(self) -> Listing:
        size = self.root.get("page_size", "100")
        if not size.isdecimal() or not 1 <= int(size) <= 100:
            raise ValueError("page_size is a number from 1 to 100")
        return self


BODIES: dict[tuple[str, str], type[BaseModel] | None] = {
    ("POST", "pages"): NewPage,
    ("GET", "pages/{id}"): None,
    ("PATCH", "pages/{id}"): PageUpdate,
    ("GET", "blocks/{id}/children"): None,
    ("PATCH", "blocks/{id}/children"): Append,
    ("PATCH", "blocks/{id}"): BlockUpdate,
    ("DELETE", "blocks/{id}"): None,
    ("POST", "databases"): NewDatabase,
    ("GET", "databases/{id}"): None,
    ("PATCH", "databases/{id}"): DatabaseUpdate,
    ("POST", "data_sources"): NewSource,
    ("GET", "data_sources/{id}"): None,
    ("PATCH", "data_sources/{id}"): SourceUpdate,
    ("POST", "data_sources/{id}/query"): Query,
    ("GET", "data_sources/{id}/templates"): None,
    ("POST", "search"): Search,
    ("POST", "views"): NewView,
    ("POST", "file_uploads"): NewUpload,
    ("POST", "file_uploads/{id}/send"): None,
    ("GET", "file_uploads/{id}"): None,
    ("GET", "views"): None,
    ("GET", "views/{id}"): None,
    ("GET", "users/me"): None,
    ("GET", "users"): None,
}


def endpoint(method: str, path: str) -> tuple[str, str]:
    """The row of ``BODIES`` that a request's path (``/v1/pages/…``) belongs to."""
    parts = path.removeprefix("/v1/").strip("/").split("/")
    if len(parts) > 1 and parts[0] != "users":
        parts[1] = "{id}"
    return method, "/".join(parts)


def problems(
    method: str, path: str, body: bytes, query: dict[str, str] | None = None, version: str = "2026-03-11"
) -> list[str]:
    """What is wrong with a request by the published reference; nothing if it is right."""
    key = endpoint(method, path)
    if key not in BODIES:
        return [f"{method} {path} is no endpoint that csm-health uses"]
    found = [f"{len(body):,} bytes, at most {REQUEST_BYTES:,}"] if len(body) > REQUEST_BYTES else []
    model = OlderAppend if BODIES[key] is Append and version == "2025-09-03" else BODIES[key]
    try:
        if query:
            Listing.model_validate(query)
        if key == ("POST", "file_uploads/{id}/send"):
            return [] if b'name="file"' in body and b"image/png" in body else ["a form without the part file"]
        if model is None:
            return [*found, *(["a body where none is taken"] if body not in (b"", b"{}") else [])]
        parsed = json.loads(body.decode("utf-8"))
        model.model_validate(parsed)
    except ValidationError as error:
        return found + [
            f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']} ({str(one['input'])[:60]})"
            for one in error.errors(include_url=False)
        ]
    except ValueError as error:
        return [*found, f"no JSON: {error}"]
    blocks = _blocks(parsed)
    return found + ([f"{blocks:,} blocks, at most {BLOCKS_IN_A_REQUEST:,}"] if blocks > BLOCKS_IN_A_REQUEST else [])


def _blocks(body: Any) -> int:
    if isinstance(body, dict):
        return len(body.get("children", ())) + sum(_blocks(value) for value in body.values())
    return sum(_blocks(value) for value in body) if isinstance(body, list) else 0
