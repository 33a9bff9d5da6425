"""The statement of an account and day as SQL: what a receipt proves, as canonical JSON, and its leaf hash."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import duckdb

from csm_core.receipts import canonical_sql as json_sql
from csm_core.receipts.standalone import LEAF
from csm_core.rubric import FIELDS, SIGNAL_NAMES
from csm_core.scoring.known_scores import SCORES
from csm_core.scoring.score_days import code_version as score_code_version
from csm_core.thresholds import THRESHOLDS
from csm_core.warehouse.catalog import columns_of
from csm_core.warehouse.models import literal, parse_select

_LEVELS = ("churn_risk_level", "churn_triggered_by", "rag")


def statement_sql() -> str:
    """Return the expression of a statement from ``signals``, ``scores`` and ``proofs``, the columns that are stored.

    ``proofs`` has known_from, code_version, rubric_hash and records_hash.
    """
    return json_sql.document(
        {
            "account_id": json_sql.text("scores.account_id"),
            "as_of_date": json_sql.plain_text("scores.as_of_date"),
            "code_version": json_sql.text("proofs.code_version"),
            "config_hash": json_sql.text("scores.config_hash"),
            "inputs": {
                field.name: (json_sql.text if field.kind == "level" else json_sql.number)(f"signals.{field.name}")
                for field in FIELDS
            },
            "known_from": json_sql.utc_time("proofs.known_from"),
            "points": {name: json_sql.number(f"scores.{name}_points") for name in SIGNAL_NAMES},
            "records_hash": json_sql.plain_text("proofs.records_hash"),
            "result": {
                **{name: json_sql.text(f"scores.{name}") for name in _LEVELS},
                "raw_score": json_sql.number("scores.raw_score"),
                "raw_score_hex": json_sql.hex_float("scores.raw_score"),
                "score": json_sql.number("scores.score"),
                "score_hex": json_sql.hex_float("scores.score"),
                "should_alert": json_sql.number("scores.should_alert"),
            },
            "rubric_hash": json_sql.plain_text("proofs.rubric_hash"),
            "tenant_id": json_sql.text("scores.tenant_id"),
            "thresholds": {name: json_sql.number(f"scores.{name}") for name in THRESHOLDS},
        }
    )


def leaf_sql(statement: str) -> str:
    """Return the leaf hash of a statement, in hexadecimal."""
    return f"sha256({literal(LEAF)} || {statement})"


def known_from_sql(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the column of the scores that says when they were first computed."""
    return "known_from" if "known_from" in columns_of(connection, SCORES) else "scored_at"


@cache
def code_version() -> str:
    """Return the version of csm-health, and a hash of the SQL of signals and scores."""
    try:
        installed = version("csm-health")
    except PackageNotFoundError:
        installed = "unknown"
    return f"{installed}+{score_code_version()}"


def parameters_in(sql: str, values: dict[str, object]) -> dict[str, object]:
    """Return the values of the parameters of a SELECT."""
    return {name: values[name] for name in parse_select(sql, Path("receipts"))[1]}
