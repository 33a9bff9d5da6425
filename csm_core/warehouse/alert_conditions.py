"""The conditions of alert rules: one SQL expression on the columns of an account, checked before anything runs it.

A condition comes from a configuration file, so only comparisons, operators and a few functions are allowed: no
subquery, no function that reads files or settings, no second statement. DuckDB parses the text, and the parsed
expression is checked, so nothing depends on how the text is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

import duckdb

from csm_core.rubric import CHURN_TRIGGERS, FIELDS, SIGNAL_NAMES

_TEXT, _WHOLE, _RATE, _AMOUNT = "varchar", "bigint", "double", "decimal(38, 2)"
_RAGS, _RISKS = ("GREEN", "AMBER", "RED"), ("low", "medium", "high", "critical")
_RAG = f"enum{_RAGS}"
_RISK = f"enum{_RISKS}"
_TRIGGER = f"enum{CHURN_TRIGGERS}"
# The columns of marts.csm_health_current with their types; a test compares both.
CURRENT_COLUMNS: dict[str, str] = {
    "account_name": _TEXT,
    "csm_owner": _TEXT,
    "seats": _WHOLE,
    "mrr": _AMOUNT,
    "arr": _AMOUNT,
    "currency": _TEXT,
    "mrr_reporting": _AMOUNT,
    "reporting_currency": _TEXT,
    "renewal_date": "date",
    "is_customer": "boolean",
    "tenant_id": _TEXT,
    "account_id": _TEXT,
    "as_of_date": "date",
    "segment": _TEXT,
    "plan": _TEXT,
    "score": _RATE,
    "raw_score": _RATE,
    "rag": _RAG,
    "churn_risk_level": _RISK,
    "churn_triggered_by": _TRIGGER,
    "should_alert": "boolean",
    "previous_score": _RATE,
    "previous_rag": _RAG,
    "score_change_28d": _RATE,
    "feature_adoption_rate": _RATE,
    "usage_trend": _TEXT,
    "login_frequency_days": _WHOLE,
    "days_since_last_interaction": _WHOLE,
    "invoice_payment_status": _TEXT,
    "support_sentiment": _TEXT,
    "open_ticket_count": _WHOLE,
    "days_to_renewal": _WHOLE,
    "seats_utilization_rate": _RATE,
    "stakeholder_engagement": _TEXT,
    "nps_score": _WHOLE,
    "escalation_count_90_days": _WHOLE,
    "tam_health_rag": _TEXT,
    "missing_signals": _TEXT,
    "signal_coverage": _RATE,
    **{f"{name}_points": _RATE for name in SIGNAL_NAMES},
    "green_threshold": _RATE,
    "amber_threshold": _RATE,
    "churn_window_days": _WHOLE,
    "config_hash": _TEXT,
    "scored_at": "timestamp",
    "pulse": _WHOLE,
    "pulse_age_days": _WHOLE,
    "pulse_note": _TEXT,
    "disagrees": "boolean",
}
# Columns that only alerts have; docs/alerts.md describes them.
ADDED_COLUMNS: dict[str, str] = {
    "score_change_7d": _RATE,
    "days_without_usage": _WHOLE,
    "key_contacts": _WHOLE,
}
ALERT_COLUMNS: dict[str, str] = CURRENT_COLUMNS | ADDED_COLUMNS

_LEVELS: dict[str, tuple[str, ...]] = {
    "rag": _RAGS,
    "previous_rag": _RAGS,
    "churn_risk_level": _RISKS,
    "churn_triggered_by": tuple(CHURN_TRIGGERS),
    **{field.name: tuple(field.levels) for field in FIELDS if field.levels},
}
_CLASSES = frozenset(
    ("COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "OPERATOR", "BETWEEN", "CASE", "CAST", "TYPE")
)
_FUNCTIONS = frozenset(
    (
        *("+", "-", "*", "/", "//", "%", "~~", "!~~", "~~*", "!~~*", "||"),
        *("abs", "round", "floor", "ceil", "lower", "upper", "trim", "length", "contains", "starts_with", "ends_with"),
        *("greatest", "least", "date_diff", "regexp_matches"),
    )
)
_BEGIN, _END = "select (\n", "\n)"


class ConditionError(ValueError):
    """A condition that is not allowed; the message has the position in the text."""


def checked_condition(text: str, columns: Mapping[str, str] = ALERT_COLUMNS) -> str:
    """Return the condition without surrounding blanks. Raises ConditionError unless it is one boolean expression."""
    condition = text.strip()
    if not condition:
        message = "the condition is empty; write an expression such as rag = 'RED'"
        raise ConditionError(message)
    with duckdb.connect(config={"enable_external_access": False, "threads": 1}) as connection:
        expression = _parsed(connection, condition)
        for node in _nodes(expression):
            _require_allowed(node, condition, columns)
            _require_levels(node, condition)
        _require_boolean(connection, condition, columns)
    return condition


def _parsed(connection: duckdb.DuckDBPyConnection, condition: str) -> dict[str, Any]:
    """The expression as DuckDB parses it. Nothing is executed."""
    row = connection.execute("select json_serialize_sql(?)", [f"{_BEGIN}{condition}{_END}"]).fetchone()
    document: dict[str, Any] = json.loads(row[0] if row else "{}")
    if document.get("error"):
        if document.get("error_type") != "parser":
            message = "the condition is more than one expression; write one expression such as rag = 'RED'"
            raise ConditionError(message)
        message = f"{document.get('error_message')}{_at(condition, document.get('position'))}"
        raise ConditionError(message)
    statements: list[Any] = document.get("statements", [])
    node: dict[str, Any] = statements[0]["node"] if len(statements) == 1 else {}
    listed: list[dict[str, Any]] = node.get("select_list", [])
    plain = ("modifiers", "where_clause", "group_expressions", "group_sets", "having", "sample", "qualify")
    if (
        node.get("type") != "SELECT_NODE"
        or len(listed) != 1
        or node.get("from_table", {}).get("type") != "EMPTY"
        or any(node.get(name) for name in plain)
        or node.get("cte_map", {}).get("map")
    ):
        message = "the condition is more than one expression; write one expression such as rag = 'RED'"
        raise ConditionError(message)
    return listed[0]


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every expression in a parsed expression."""
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        if "class" in mapping:
            yield mapping
        for inner in mapping.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _nodes(inner)


def _require_allowed(node: dict[str, Any], condition: str, columns: Mapping[str, str]) -> None:
    kind, place = str(node["class"]), _at(condition, node.get("query_location"))
    if kind == "COLUMN_REF":
        name = ".".join(node["column_names"])
        if name.lower() not in columns:
            message = f"there is no column {name!r}{place}; docs/alerts.md lists the columns"
            raise ConditionError(message)
    elif kind == "FUNCTION":
        name = str(node["function_name"]).lower()
        if name not in _FUNCTIONS or node.get("schema") or node.get("filter"):
            allowed = ", ".join(sorted(one for one in _FUNCTIONS if one[0].isalpha()))
            message = f"the function {name!r} is not allowed{place}; use one of {allowed}"
            raise ConditionError(message)
    elif kind not in _CLASSES:
        what = {"SUBQUERY": "a subquery", "PARAMETER": "a parameter"}.get(kind, f"{kind.lower()} as an expression")
        message = f"{what} is not allowed{place}; compare the columns of the account"
        raise ConditionError(message)


def _require_levels(node: dict[str, Any], condition: str) -> None:
    """Raise ConditionError for a comparison of a column with a text that it never has, such as a misspelt band."""
    compared: list[dict[str, Any]] = [node[side] for side in ("left", "right") if side in node]
    if node.get("type") in ("COMPARE_IN", "COMPARE_NOT_IN"):
        compared = node["children"]
    columns = [one["column_names"][-1].lower() for one in compared if one["class"] == "COLUMN_REF"]
    for one in compared:
        value = one.get("literal", {}).get("text") if one["class"] == "CONSTANT" else None
        for name in columns:
            levels = _LEVELS.get(name)
            if levels and value is not None and value not in levels:
                place = _at(condition, one.get("query_location"))
                message = f"{name} is never {value!r}{place}; its values are {', '.join(levels)}"
                raise ConditionError(message)


def _require_boolean(connection: duckdb.DuckDBPyConnection, condition: str, columns: Mapping[str, str]) -> None:
    """Bind the expression to an empty relation with the columns of an account, and check its type."""
    empty = ", ".join(f"cast(null as {kind}) as {name}" for name, kind in columns.items())
    query = f"{_BEGIN}{condition}{_END} as condition from (select {empty} where false) as accounts"
    try:
        described: list[Any] = connection.execute(f"describe {query}").fetchall()
        connection.execute(query).fetchall()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].split(": ", 1)[-1]
        message = f"{reason}{_at_caret(condition, str(error))}"
        raise ConditionError(message) from None
    if described[0][1] != "BOOLEAN":
        message = f"the condition is of type {described[0][1]}, not BOOLEAN; compare it with a value"
        raise ConditionError(message)


def _at(condition: str, location: Any) -> str:
    """The position in the condition for a message; DuckDB counts bytes of the whole statement."""
    try:
        place = int(location) - len(_BEGIN)
    except (TypeError, ValueError):
        return ""
    encoded = condition.encode()
    if not 0 <= place <= len(encoded):
        return ""
    return f" at position {len(encoded[:place].decode(errors='ignore')) + 1}"


def _at_caret(condition: str, error: str) -> str:
    """The position from an error message that marks it below the line of the statement."""
    lines = error.splitlines()
    for place, line in enumerate(lines[:-1]):
        head, separator, shown = line.partition(": ")
        if separator and head.startswith("LINE ") and head[5:].isdecimal() and int(head[5:]) >= 2:
            caret = lines[place + 1].find("^") - len(head) - len(separator)
            before = condition.splitlines()[: int(head[5:]) - 2]
            if caret >= 0 and not shown.startswith("..."):
                return f" at position {sum(len(one) + 1 for one in before) + caret + 1}"
    return ""
