"""The project's models on PySpark in local mode: staged tables go over as Parquet, models as sqlglot writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import sqlglot
from sqlglot import exp

from csm_core.warehouse.models import SqlModel

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@contextmanager
def local_spark(folder: Path) -> Iterator[SparkSession]:
    """A session in UTC, ANSI mode on (as is Spark's default), without a web page and with few partitions."""
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .appName("csm-health models")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.ansi.enabled", "true")
        .config("spark.sql.warehouse.dir", str(folder / "warehouse"))
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.sql.parquet.inferTimestampNTZ.enabled", "true")
        .config("spark.sql.timestampType", "TIMESTAMP_NTZ")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "2g")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()


def as_literal(value: Any) -> exp.Expression:
    """A parameter's value as an expression; Spark SQL has no named parameters inside a stored statement."""
    if isinstance(value, date):
        return exp.cast(exp.Literal.string(value.isoformat()), "date")
    if isinstance(value, (list, tuple)):
        return exp.Array(expressions=[as_literal(one) for one in value])
    if value is None:
        return exp.Null()
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    return exp.convert(value)


def for_spark(sql: str, parameters: Mapping[str, Any]) -> str:
    """The DuckDB text of a model as Spark's, with its ``$parameters`` bound."""
    tree = sqlglot.parse_one(sql, read="duckdb")

    def bind(node: exp.Expression) -> exp.Expression:
        return as_literal(parameters[node.name]) if isinstance(node, (exp.Parameter, exp.Placeholder)) else node

    return tree.transform(bind).sql(dialect="spark", unsupported_level=sqlglot.ErrorLevel.RAISE)


def in_dependency_order(models: Sequence[SqlModel]) -> list[SqlModel]:
    """Every model after those that it reads."""
    waiting = {model.table: model for model in models}
    ordered: list[SqlModel] = []
    while waiting:
        ready = [model for model in waiting.values() if not model.dependencies & waiting.keys()]
        if not ready:
            message = f"models that read each other: {sorted(waiting)}"
            raise ValueError(message)
        ordered.extend(waiting.pop(model.table) for model in ready)
    return ordered


def hand_over(connection: duckdb.DuckDBPyConnection, spark: SparkSession, query: str, table: str, folder: Path) -> None:
    """Give Spark the rows of a DuckDB query as a table, by way of a Parquet file."""
    file = folder / f"{table}.parquet"
    connection.execute(f"copy ({query}) to '{file}' (format parquet)")
    spark.sql(f"create database if not exists {table.partition('.')[0]}")
    spark.read.parquet(str(file)).write.mode("overwrite").saveAsTable(table)


def attempt(spark: SparkSession, model: SqlModel, parameters: Mapping[str, Any]) -> str | None:
    """Make the model's table of its SELECT on Spark; what Spark said if it could not."""
    from pyspark.errors import PySparkException

    spark.sql(f"create database if not exists {model.layer}")
    text = for_spark(model.sql, parameters)
    try:
        spark.sql(text).write.mode("overwrite").saveAsTable(model.table)
    except PySparkException as error:
        return f"{str(error)[:1500]}"
    return None


def hand_back(spark: SparkSession, connection: duckdb.DuckDBPyConnection, table: str, folder: Path) -> None:
    """Give DuckDB the rows that Spark has, as the same table of the catalog ``spark``."""
    target = folder / f"back.{table}"
    spark.table(table).write.mode("overwrite").parquet(str(target))
    connection.execute(f"create schema if not exists spark.{table.partition('.')[0]}")
    connection.execute(f"create table spark.{table} as from read_parquet('{target}/*.parquet')")
