"""Reads ``sql/``: the SQL, parameters and dependencies of each model, and the grain, columns and checks in its yml.

Dependencies come from DuckDB's parser, so they always match the SQL. ``csm_core.warehouse.materialize`` runs models.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import duckdb
import yaml

from csm_core.errors import WarehouseError
from csm_core.system.project_files import PROJECT_FILES

# As safe as the loader in Python and ten times as fast: the definitions read many yml files.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

SQL_ROOT = PROJECT_FILES / "sql"
_SHARED_MODELS = "shared_models.yml"


@dataclass(frozen=True)
class Incremental:
    """A model that replaces only the days in a queue table, and may add them to the next queue."""

    column: str
    queue: str
    feeds: str | None = None


@dataclass(frozen=True)
class Check:
    """A check in a model's yml, as a predicate that must be true for every row (nulls pass range checks)."""

    name: str
    description: str
    predicate: str


@dataclass(frozen=True)
class ModelView:
    """A view with some columns of a model: the schema-qualified name, a description, and the columns."""

    name: str
    description: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class SqlModel:
    """A SQL file and its yml. ``layer`` is the folder, which for intermediate and marts is also the schema.

    ``never_null`` are the columns of the key, except nullable ones, and the not-null columns in the yml. ``renamed``
    maps columns to their names in the previous version. ``derived`` is true for a staging model that concludes its
    records from records of other entities. ``view`` is a view of some of the model's columns under another name.
    """

    name: str
    layer: str
    path: Path
    sql: str
    description: str
    grain: tuple[str, ...]
    nullable_grain: tuple[str, ...]
    partitioned: bool
    incremental: Incremental | None
    columns: Mapping[str, str]
    renamed: Mapping[str, str]
    never_null: tuple[str, ...]
    checks: tuple[Check, ...]
    derived: bool = False
    view: ModelView | None = None

    @property
    def table(self) -> str:
        """The schema-qualified table of the model."""
        return f"{self.layer}.{self.name}"

    @property
    def view_of_previous_names(self) -> str:
        """The view of a mart with the column names of the previous version, for a mart with renamed columns."""
        return f"{self.table}_v0"

    @property
    def version(self) -> str:
        """A short hash of the SQL, independent of comments and layout."""
        return version_of(self.sql)

    @property
    def dependencies(self) -> frozenset[str]:
        """The schema-qualified tables that the SELECT reads, without CTEs."""
        return parse_select(self.sql, self.path)[0]

    @property
    def parameters(self) -> frozenset[str]:
        """The names of the ``$parameters`` in the SELECT."""
        return parse_select(self.sql, self.path)[1]


@cache
def version_of(sql: str, more: str = "") -> str:
    """Return a hash of 16 hexadecimal digits of the SQL and ``more``, independent of comments and white space."""
    text = sql.encode()
    tokens = duckdb.tokenize(sql)
    # Offsets are in bytes. A token extends to the start of the next token, including white space.
    starts = [*(start for start, _ in tokens), len(text)]
    code = [
        text[start:end].strip()
        for (_, kind), start, end in zip(tokens, starts, starts[1:], strict=False)
        if kind is not duckdb.token_type.comment
    ]
    # One line per token, so that two adjacent tokens never hash like a single one.
    return hashlib.sha256(b"\n".join([*code, more.encode()])).hexdigest()[:16]


def load_model(path: Path, layer: str) -> SqlModel:
    """Read a model and its yml (same name, ``.yml``). Raises WarehouseError if the yml is missing or malformed."""
    description_file = path.with_suffix(".yml")
    if not description_file.is_file():
        message = f"{path}: {description_file.name} is missing. It must describe grain, columns and checks"
        raise WarehouseError(message)
    stated = cast("dict[str, Any]", yaml.load(description_file.read_text(encoding="utf-8"), Loader=_LOADER))  # noqa: S506
    grain = tuple(cast("list[str]", stated.get("grain") or []))
    nullable_grain = tuple(cast("list[str]", stated.get("nullable_grain") or []))
    incremental = stated.get("incremental")
    checks = cast("list[dict[str, Any]]", stated.get("checks") or [])
    view = cast("dict[str, Any]", stated.get("view") or {})
    return SqlModel(
        name=path.stem,
        layer=layer,
        path=path,
        sql=path.read_text(encoding="utf-8") if path.suffix == ".sql" and path.is_file() else "",
        description=str(stated["description"]).strip(),
        grain=grain,
        nullable_grain=nullable_grain,
        partitioned=bool(stated.get("partitioned", False)),
        incremental=Incremental(**cast("dict[str, str]", incremental)) if incremental else None,
        columns=cast("dict[str, str]", stated.get("columns") or {}),
        renamed=cast("dict[str, str]", stated.get("renamed") or {}),
        never_null=tuple(dict.fromkeys([*(key for key in grain if key not in nullable_grain), *_not_null(checks)])),
        checks=tuple(_checks(checks)),
        derived=bool(stated.get("derived", False)),
        view=ModelView(view["name"], view["description"], tuple(view["columns"])) if view else None,
    )


def load_models(layer: str, root: Path = SQL_ROOT) -> dict[str, SqlModel]:
    """Return all models of ``sql/<layer>/`` by name. A yml without SQL describes a table that the scorer fills."""
    return dict(_models_of(layer, root))


def load_filled_tables(root: Path = SQL_ROOT) -> dict[str, SqlModel]:
    """Return the tables of the marts that code fills beside models, by name: each has a yml in ``sql/tables``."""
    return {
        path.stem: load_model(path.with_suffix(".sql"), "marts") for path in sorted((root / "tables").glob("*.yml"))
    }


@cache
def _models_of(layer: str, root: Path) -> Mapping[str, SqlModel]:
    # A run asks for them once per model that it builds.
    folder = root / layer
    names = sorted({path.stem for path in folder.glob("*.sql")} | {path.stem for path in folder.glob("*.yml")})
    return {name: load_model(folder / f"{name}.sql", layer) for name in names}


@cache
def whole_tables(layer: str) -> tuple[str, ...]:
    """Return the tables of ``sql/<layer>/`` that are rebuilt completely, whichever days a run builds."""
    return tuple(model.table for model in load_models(layer).values() if not model.partitioned)


def staging_models(system: str, root: Path = SQL_ROOT) -> dict[str, SqlModel]:
    """Return the staging models of a source system by entity (``stg_accounts.sql`` is ``accounts``).

    A system with a file ``shared_models.yml`` uses the models of another system with its own raw tables, except those
    of the entities that it lists under ``without``.
    """
    folder = root / "staging" / system
    models = {
        path.stem.removeprefix("stg_"): load_model(path, f"staging/{system}")
        for path in sorted(folder.glob("stg_*.sql"))
    }
    shared = folder / _SHARED_MODELS
    if not shared.is_file():
        return models
    stated = cast("dict[str, Any]", yaml.load(shared.read_text(encoding="utf-8"), Loader=_LOADER))  # noqa: S506
    others = staging_models(stated["models_of"], root)
    return models | {
        entity: _shared_model(model, entity, system, stated, shared)
        for entity, model in others.items()
        if entity not in models and entity not in stated.get("without", ())
    }


def _shared_model(model: SqlModel, entity: str, system: str, stated: Mapping[str, Any], shared: Path) -> SqlModel:
    """Return a model that reads the union of another system's raw tables instead of its own raw table."""
    own = f"raw.{stated['models_of']}__{entity}"
    if model.dependencies != frozenset((own,)):
        message = (
            f"{shared}: {model.path} reads {', '.join(sorted(model.dependencies))}. Only a model that reads no table "
            f"but {own} can be shared: add a {model.path.name} to {shared.parent}."
        )
        raise WarehouseError(message)
    body, order, keys = model.sql.partition("\norder by ")
    name = re.compile(rf"\b{re.escape(own)}\b")
    tables = [str(table).format(entity=entity) for table in cast("list[str]", stated["raw_tables"])]
    parts = [f"(\n{name.sub(table, body).strip()}\n)" for table in tables]
    return replace(model, layer=f"staging/{system}", sql="\nunion all\n".join(parts) + order + keys)


def staging_steps(system: str, root: Path = SQL_ROOT) -> dict[str, SqlModel]:
    """Return the steps between a system's raw tables and its staging models, by name: tables of the schema ``staging``.

    Steps unnest JSON and normalise records of different formats.
    """
    folder = root / "staging" / system
    paths = [path for path in sorted(folder.glob("*.sql")) if not path.stem.startswith("stg_")]
    return {path.stem: load_model(path, "staging") for path in paths}


def literal(value: Any) -> str:
    """Return a number, text or date as a SQL literal."""
    if isinstance(value, (int, float)):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Return any name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _not_null(stated: list[dict[str, Any]]) -> Iterator[str]:
    for entry in stated:
        yield from cast("list[str]", entry.get("not_null") or [])


def _checks(stated: list[dict[str, Any]]) -> Iterator[Check]:
    for entry in stated:
        ((kind, body),) = entry.items()
        if kind == "not_null":
            continue
        if kind == "accepted_values":
            column = body["column"]
            values = ", ".join(literal(value) for value in body["values"])
            yield Check(
                f"{column}_accepted",
                f"{column} is one of {', '.join(str(value) for value in body['values'])}, or null.",
                f"({column} is null or {column} in ({values}))",
            )
        elif kind == "between":
            column = body["column"]
            bounds = [f"{column} >= {literal(body['min'])}"] if "min" in body else []
            bounds += [f"{column} <= {literal(body['max'])}"] if "max" in body else []
            if not bounds:
                message = f"the `between` check of {column} has neither min nor max"
                raise WarehouseError(message)
            text = " and ".join(bounds)
            yield Check(f"{column}_in_range", f"{text}, or null.", f"({column} is null or ({text}))")
        elif kind == "sql":
            yield Check(body["name"], body["description"], f"coalesce({body['expect']}, false)")
        else:
            message = f"unknown kind of check {kind!r}; expected not_null, accepted_values, between or sql"
            raise WarehouseError(message)


@cache
def parse_select(sql: str, path: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Return the tables (without CTEs) and parameters of a SELECT. Raises WarehouseError for other SQL."""
    with _parser().cursor() as cursor:
        row = cursor.execute("select json_serialize_sql(?)", [sql]).fetchone()
    tables: set[str] = set()
    local: set[str] = set()
    parameters: set[str] = set()

    def collect(node: dict[str, Any]) -> dict[str, Any]:
        kind = node.get("type")
        if kind == "BASE_TABLE":
            schema = node.get("schema_name")
            tables.add(f"{schema}.{node['table_name']}" if schema else node["table_name"])
        elif kind == "VALUE_PARAMETER":
            parameters.add(node["identifier"])
        if "cte_map" in node:
            local.update(entry["key"] for entry in node["cte_map"]["map"])
        return node

    tree: dict[str, Any] = json.loads(row[0], object_hook=collect) if row else {"error": True}
    if tree["error"]:
        message = f"{path}: not a SELECT that DuckDB can parse: {tree.get('error_message')}"
        raise WarehouseError(message)
    if len(tree["statements"]) != 1:
        message = f"{path}: a model is one SELECT; found {len(tree['statements'])} statements"
        raise WarehouseError(message)
    return frozenset(tables - local), frozenset(parameters)


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    # Opening a database takes longer than parsing all models. Closed before the interpreter shuts down.
    atexit.register(_parser.cache_clear)
    return duckdb.connect(config={"threads": 1})
