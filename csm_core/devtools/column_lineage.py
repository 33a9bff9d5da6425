"""Column lineage of the models, derived from their SQL and stored in ``sql/lineage.json``.

``make docs`` derives it, because that takes several seconds and needs sqlglot, a development dependency. Each entry has
the version of its SQL; if the SQL has changed since, the entry is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from csm_core.contract import ENTITIES
from csm_core.rubric import FIELDS
from csm_core.scoring.known_scores import KNOWN_COLUMNS
from csm_core.scoring.score_days import scores_sql
from csm_core.scoring.sql import POINT_COLUMNS, RESULT_COLUMNS
from csm_core.thresholds import THRESHOLDS
from csm_core.warehouse.models import SQL_ROOT, SqlModel, load_models, version_of
from csm_core.warehouse.pulse_tables import PULSE_DESCRIPTIONS, PULSES
from csm_core.warehouse.version_tables import VERSION_TABLES

LINEAGE_FILE = SQL_ROOT / "lineage.json"
LAYERS = ("intermediate", "marts")
SCORES = "csm_health_scores"
# The tables that are not the result of a SELECT.
_ORIGINS = {
    "csm_day_roots": {
        "tenant_id": ["marts.csm_health_scores.tenant_id"],
        "as_of_date": ["marts.csm_health_scores.as_of_date"],
        "accounts": ["marts.csm_health_scores.account_id"],
        "root": [
            *(f"marts.csm_health_scores.{name}" for name in (*RESULT_COLUMNS, *POINT_COLUMNS, *THRESHOLDS)),
            *(f"marts.csm_health_signals.{field.name}" for field in FIELDS),
        ],
    }
}

Columns = Mapping[str, Sequence[tuple[str, str]]]


def column_lineage_of(model: SqlModel) -> Columns:
    """The (table, column) origins of each column of a model; empty if there is no current entry."""
    entry = _stored().get(model.table)
    if entry is None or entry["version"] != version_of(_sql(model)):
        return {}
    return {
        column: [(one.rpartition(".")[0], one.rpartition(".")[2]) for one in origins]
        for column, origins in entry["columns"].items()
    }


def read_lineage() -> dict[str, Any]:
    """The content of ``sql/lineage.json``: by table, the version of its SQL and the origins of each column."""
    from sqlglot import exp
    from sqlglot.lineage import lineage

    models = {name: model for layer in LAYERS for name, model in load_models(layer).items()}
    schemas: dict[str, dict[str, dict[str, str]]] = {
        "run": {
            "days": {"as_of_date": "date"},
            "known_scores": dict.fromkeys(KNOWN_COLUMNS, "text"),
            "uncounted_days": {"as_of_date": "date"},
            "days_status": dict.fromkeys(
                ("as_of_date", "status", "failed_checks", "message", "accepted_by", "changed_at"), "text"
            ),
        },
        "sync": {"pulses": dict.fromkeys(PULSE_DESCRIPTIONS[PULSES][1], "text")},
    }
    for entity in ENTITIES.values():
        schema, _, table = entity.table.partition(".")
        # Includes the columns that the gate adds, which the contract does not list.
        names = [column.partition(" ")[0] for column in entity.definition.split(", ")]
        schemas.setdefault(schema, {})[table] = dict.fromkeys(names, "text")
    for versions in VERSION_TABLES.values():
        schemas["staging"][versions.table.removeprefix("staging.")] = dict.fromkeys(versions.columns, "text")
    for model in models.values():
        schemas.setdefault(model.layer, {})[model.name] = dict.fromkeys(model.columns, "text")
    entries: dict[str, Any] = {}
    columns: dict[str, list[str]]
    for model in models.values():
        if not _sql(model):
            columns = {column: _ORIGINS[model.name].get(column, []) for column in model.columns}
            entries[model.table] = {"version": version_of(""), "columns": columns}
            continue
        nodes: Any = lineage(None, _sql(model), schemas, dialect="duckdb")
        columns = {}
        for column in model.columns:
            leaves = [leaf for leaf in nodes[column].walk() if isinstance(leaf.expression, exp.Table)]
            origins = {f"{leaf.expression.db}.{leaf.expression.name}.{leaf.name.rpartition('.')[2]}" for leaf in leaves}
            columns[column] = sorted(one for one in origins if not one.startswith(("run.", "sync.")))
        entries[model.table] = {"version": version_of(_sql(model)), "columns": columns}
    return entries


def as_text(entries: Mapping[str, Any]) -> str:
    """The content of the file as text."""
    return json.dumps(entries, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """``python -m csm_core.devtools.column_lineage``: write ``sql/lineage.json``."""
    LINEAGE_FILE.write_text(as_text(read_lineage()), encoding="utf-8")


def _sql(model: SqlModel) -> str:
    # csm_health_scores has no SQL file. The other tables without one are not the result of a SELECT.
    return model.sql or (scores_sql() if model.name == SCORES else "")


@cache
def _stored() -> dict[str, Any]:
    return json.loads(LINEAGE_FILE.read_text(encoding="utf-8")) if LINEAGE_FILE.is_file() else {}


if __name__ == "__main__":
    main()
