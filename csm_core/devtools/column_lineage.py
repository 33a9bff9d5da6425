"""Which columns each column of a model comes from, read from its SQL and kept in ``sql/lineage.json``.

Reading takes sqlglot, which is there for development only, and seconds, so ``make docs`` does it. An entry holds the
version of the SQL that it was read from; of SQL that has changed since, nothing is said rather than something wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from csm_core.contract import ENTITIES
from csm_core.scoring.score_days import scores_sql
from csm_core.warehouse.models import SQL_ROOT, SqlModel, load_models, version_of

LINEAGE_FILE = SQL_ROOT / "lineage.json"
LAYERS = ("intermediate", "marts")

Columns = Mapping[str, Sequence[tuple[str, str]]]


def columns_behind(model: SqlModel) -> Columns:
    """By column of the model, the (table, column) pairs that its values come from; empty if that was not read."""
    entry = _stored().get(model.table)
    if entry is None or entry["version"] != version_of(_sql(model)):
        return {}
    return {
        column: [(one.rpartition(".")[0], one.rpartition(".")[2]) for one in behind]
        for column, behind in entry["columns"].items()
    }


def read_lineage() -> dict[str, Any]:
    """What ``sql/lineage.json`` has to hold: by table, the version of its SQL and what is behind each column."""
    from sqlglot import exp
    from sqlglot.lineage import lineage

    models = {name: model for layer in LAYERS for name, model in load_models(layer).items()}
    known: dict[str, dict[str, dict[str, str]]] = {
        "run": {
            "days": {"as_of_date": "date"},
            "uncounted_days": {"as_of_date": "date"},
            "days_status": dict.fromkeys(
                ("as_of_date", "status", "failed_checks", "message", "accepted_by", "changed_at"), "text"
            ),
        }
    }
    for entity in ENTITIES.values():
        schema, _, table = entity.table.partition(".")
        # With the columns that the gate owns, which are not in the contract's list.
        names = [column.partition(" ")[0] for column in entity.definition.split(", ")]
        known.setdefault(schema, {})[table] = dict.fromkeys(names, "text")
    for model in models.values():
        known.setdefault(model.layer, {})[model.name] = dict.fromkeys(model.columns, "text")
    found: dict[str, Any] = {}
    for model in models.values():
        nodes: Any = lineage(None, _sql(model), known, dialect="duckdb")
        columns: dict[str, list[str]] = {}
        for column in model.columns:
            leaves = [leaf for leaf in nodes[column].walk() if isinstance(leaf.expression, exp.Table)]
            behind = {f"{leaf.expression.db}.{leaf.expression.name}.{leaf.name.rpartition('.')[2]}" for leaf in leaves}
            columns[column] = sorted(one for one in behind if not one.startswith("run."))
        found[model.table] = {"version": version_of(_sql(model)), "columns": columns}
    return found


def as_text(found: Mapping[str, Any]) -> str:
    """The file's text."""
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """``python -m csm_core.devtools.column_lineage``: write the file anew."""
    LINEAGE_FILE.write_text(as_text(read_lineage()), encoding="utf-8")


def _sql(model: SqlModel) -> str:
    # The one model without SQL of its own is the scores'.
    return model.sql or scores_sql()


@cache
def _stored() -> dict[str, Any]:
    return json.loads(LINEAGE_FILE.read_text(encoding="utf-8")) if LINEAGE_FILE.is_file() else {}


if __name__ == "__main__":
    main()
