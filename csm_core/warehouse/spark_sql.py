"""Translates models from DuckDB's dialect to Spark's, with sqlglot, when they are built.

There is one set of SQL files: a model is written for DuckDB, in the subset that means the same on Spark.
``sql/spark/<model>.sql`` replaces a model where that is impossible; it is written for Spark and reads the same tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from csm_core.errors import WarehouseError
from csm_core.warehouse.models import SQL_ROOT, SqlModel
from csm_core.warehouse.spark_functions import as_spark

OVERRIDES = SQL_ROOT / "spark"
_LINE = re.compile(r"Line (\d+)")
# The types of the columns of models, as DuckDB names them. Types with parameters are translated by their name.
_TYPES = {
    "VARCHAR": "string",
    "BOOLEAN": "boolean",
    "TINYINT": "tinyint",
    "SMALLINT": "smallint",
    "INTEGER": "int",
    "BIGINT": "bigint",
    "HUGEINT": "decimal(38, 0)",
    "FLOAT": "float",
    "DOUBLE": "double",
    "DATE": "date",
    "TIMESTAMP": "timestamp_ntz",
}
_DUCKDB_TYPES = {spark: duckdb for duckdb, spark in _TYPES.items()} | {"timestamp": "TIMESTAMP WITH TIME ZONE"}
_NESTED = ("array", "map", "struct", "variant")


def spark_type(kind: str) -> str:
    """Return Spark's name of a DuckDB type. Raises WarehouseError for a type that no model may have."""
    if kind.endswith("[]"):
        return f"array<{spark_type(kind.removesuffix('[]'))}>"
    if kind.startswith("ENUM"):
        return "string"
    if kind.startswith("DECIMAL"):
        return kind.lower()
    if kind not in _TYPES:
        message = f"the type {kind} has no equivalent on Spark that is the same in every row"
        raise WarehouseError(message)
    return _TYPES[kind]


def duckdb_type(kind: str) -> str:
    """Return DuckDB's name of a Spark type, as Spark writes it in a schema; empty if DuckDB has no such type."""
    kind = kind.lower()
    if kind.startswith("decimal"):
        return kind.upper()
    if kind.startswith(("string", "varchar", "char")):
        return "VARCHAR"
    return _DUCKDB_TYPES.get(kind, "")


def is_nested(kind: str) -> bool:
    """Whether a Spark type, as Spark writes it in a schema, has values inside values."""
    return kind.lower().startswith(_NESTED)


def view_name(table: str) -> str:
    """Return the name of a table as a view of a Spark session: temporary views have no schema."""
    return table.replace(".", "__")


def spark_select(sql: str, values: Mapping[str, Any], path: Path | None = None) -> str:
    """Return a SELECT in DuckDB's dialect as Spark SQL, with its parameters bound and its tables as views.

    Raises WarehouseError with the file, the line and the construct that sqlglot cannot translate.
    """
    return _bound(as_spark(_parsed(sql, "duckdb", path)), values, path)


def model_select(model: SqlModel, sql: str, values: Mapping[str, Any]) -> str:
    """Return the SELECT of a model as Spark SQL: from ``sql/spark/`` if the model has a file there.

    Without its last ORDER BY: Spark would compute the rows a second time to sample them for the sort, and nothing reads
    the files of a directory in order. The rows that are fetched into the warehouse are sorted there.
    """
    override = OVERRIDES / f"{model.name}.sql"
    if override.is_file():
        return _bound(_unsorted(_parsed(override.read_text(encoding="utf-8"), "spark", override)), values, override)
    return _bound(as_spark(_unsorted(_parsed(sql, "duckdb", model.path))), values, model.path)


def untranslatable(models: Iterable[tuple[SqlModel, str]]) -> list[str]:
    """Return a message for each model, given with its SELECT, that cannot be translated."""
    messages: list[str] = []
    for model, sql in models:
        try:
            model_select(model, sql, _AnyValues())
        except WarehouseError as error:
            messages.append(str(error))
    return messages


class _AnyValues(dict[str, Any]):
    """Values for a check of the syntax: every parameter is an empty text."""

    def __missing__(self, key: str) -> str:
        return ""


def _parsed(sql: str, dialect: str, path: Path | None) -> exp.Expr:
    try:
        statements = [one for one in sqlglot.parse(sql, read=dialect) if one is not None]
    except SqlglotError as error:
        raise WarehouseError(_where(path, str(error))) from None
    if len(statements) != 1 or not isinstance(statements[0], (exp.Select, exp.SetOperation)):
        raise WarehouseError(_where(path, "a model is one SELECT"))
    return statements[0]


def _unsorted(tree: exp.Expr) -> exp.Expr:
    if not tree.args.get("limit"):
        tree.set("order", None)
    return tree


def _bound(tree: exp.Expr, values: Mapping[str, Any], path: Path | None) -> str:
    missing: list[str] = []

    def translate(node: exp.Expr) -> exp.Expr:
        if isinstance(node, (exp.Parameter, exp.Placeholder)):
            try:
                return as_literal(values[node.name])
            except KeyError:
                missing.append(node.name)
        if isinstance(node, exp.Table) and node.db:
            alias = node.args.get("alias") or exp.TableAlias(this=exp.to_identifier(node.name))
            return exp.Table(this=exp.to_identifier(view_name(f"{node.db}.{node.name}")), alias=alias)
        return node

    try:
        text = tree.transform(translate).sql(dialect="spark", unsupported_level=sqlglot.ErrorLevel.RAISE)
    except SqlglotError as error:
        raise WarehouseError(_where(path, str(error))) from None
    if missing:
        raise WarehouseError(_where(path, f"no value for parameter {', '.join(f'${name}' for name in missing)}"))
    return text


def as_literal(value: Any) -> exp.Expr:
    """Return a value of a parameter as an expression."""
    if isinstance(value, datetime):
        return exp.cast(exp.Literal.string(value.isoformat(sep=" ")), "timestamp")
    if isinstance(value, date):
        return exp.cast(exp.Literal.string(value.isoformat()), "date")
    if isinstance(value, (list, tuple)):
        return exp.Array(expressions=[as_literal(one) for one in value])
    return exp.convert(value)


def _where(path: Path | None, message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    line = _LINE.search(message)
    place = f"{path}{f', line {line.group(1)}' if line else ''}: " if path else ""
    more = f" Write it in the subset that both engines have, or add {OVERRIDES / path.name}." if path else ""
    return f"{place}cannot be translated to Spark SQL: {lines[0] if lines else message}.{more}"
