"""Builds the models of a day with ``csm run --select``, and the same SELECTs as tables with dbt-duckdb, in turns.

The dbt project is generated from the models of ``sql/``: a table for each, with the parameters of the run as literals.
Every SELECT reads the tables of the same copy of the warehouse, so both build the same rows, which is checked. dbt runs
no tests; ``csm run`` runs the checks of each model. ``--rows`` does not matter: the company is the bundled one. Needs
the extra ``bench-dbt``; if it is installed in an environment of its own, ``DBT`` names its command.
"""

import os
import re
import shutil
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import yaml

from benchmarks.measure import Measure
from benchmarks.runs import Place, Spent, spent_by
from csm_core.config import PROJECT_ROOT, load_config
from csm_core.days.finished_days import model_parameters
from csm_core.errors import InputError
from csm_core.warehouse.models import SqlModel, literal, load_models, quoted

TURNS = 3
DAY = date(2026, 6, 30)
FLOOR, OURS = "floor: dbt run", "csm run --select"
_SCHEMA, _FILE = "by_dbt", "copy.duckdb"
# The rows of either table that the other lacks, with their number.
_DIFFERENCE = """
    with ours as (select {columns} from {ours} where as_of_date = date '{day}'),
    theirs as (select {columns} from {theirs})
    (from ours except all from theirs) union all (from theirs except all from ours) limit 1
"""
# When a run knew a row first; it replaces the value of the SELECT.
_OF_THE_RUN = "known_from"
_PARAMETER = re.compile(r"\$(\w+)")


def run(_rows: int) -> list[Measure]:
    """Build the models of a day with both; ``rows`` counts the models."""
    command = os.environ.get("DBT") or shutil.which("dbt")
    if not command:
        message = (
            "dbt is not installed: pip install -e '.[bench-dbt]', or set DBT to the command of another environment"
        )
        raise InputError(message)
    models = _models()
    with tempfile.TemporaryDirectory() as name:
        place = _bundled(Path(name) / "place")
        place.run(DAY)
        place.keep()
        project = _project(Path(name) / "project", models, model_parameters(load_config(place.settings)))
        ours: list[Spent] = []
        theirs: list[Spent] = []
        for _ in range(TURNS):
            place.restore()
            shutil.copy(place.warehouse, project / _FILE)
            ours.append(place.run(DAY, select=list(models)))
            theirs.append(spent_by([command, "--quiet", "run", "--profiles-dir", "."], folder=project))
            differing = _differing(models, project / _FILE)
            if differing:
                shutil.copy(project / _FILE, "/tmp/diff.duckdb")
                message = f"the rows differ in {', '.join(differing)}"
                raise RuntimeError(message)
    floor = min(one.seconds for one in theirs)
    of_processor = min(one.processor for one in theirs)
    return [
        measure
        for way, found in ((FLOOR, theirs), (OURS, ours))
        for seconds, processor in [(min(one.seconds for one in found), min(one.processor for one in found))]
        for measure in (
            Measure("models of a day", f"{way}, on the clock", len(models), seconds, seconds / floor),
            Measure("models of a day", f"{way}, processor", len(models), processor, processor / of_processor),
        )
    ]


def _models() -> dict[str, SqlModel]:
    """The models with SQL that a run builds by day, besides those that the statuses of the days are part of."""
    loaded = {**load_models("intermediate"), **load_models("marts")}
    return {name: model for name, model in loaded.items() if model.sql and model.partitioned}


def _bundled(folder: Path) -> Place:
    """The bundled company in a folder of its own."""
    place = Place(folder)
    records = PROJECT_ROOT / "examples" / "acme"
    shutil.copytree(records, place.records)
    stated = yaml.safe_load((records / "csm.yaml").read_text(encoding="utf-8"))
    sources = [{"system": "files", "path": str(place.records)}]
    settings = {**stated, "warehouse": str(place.warehouse), "sources": sources}
    place.settings.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return place


def _project(folder: Path, models: dict[str, SqlModel], parameters: dict[str, Any]) -> Path:
    """Write a dbt project with the models, each after the models that it reads."""
    (folder / "models").mkdir(parents=True)
    values = {**parameters, "first_date": DAY, "last_date": DAY}
    for name, model in models.items():
        read = sorted(
            table.partition(".")[2]
            for table in model.dependencies - {model.table}
            if table.partition(".")[2] in models and table.partition(".")[0] in ("intermediate", "marts")
        )
        after = "".join(f"-- depends_on: {{{{ ref('{one}') }}}}\n" for one in read)
        sql = _PARAMETER.sub(lambda found: _literal(values[found[1]]), model.sql)
        (folder / "models" / f"{name}.sql").write_text(
            f"{{{{ config(materialized='table') }}}}\n{after}{sql}", encoding="utf-8"
        )
    project = {
        "name": "csm",
        "profile": "csm",
        "model-paths": ["models"],
        "flags": {"send_anonymous_usage_stats": False},
    }
    output = {"type": "duckdb", "path": _FILE, "schema": _SCHEMA, "threads": 1}
    profiles = {"csm": {"target": "here", "outputs": {"here": output}}}
    (folder / "dbt_project.yml").write_text(yaml.safe_dump(project), encoding="utf-8")
    (folder / "profiles.yml").write_text(yaml.safe_dump(profiles), encoding="utf-8")
    return folder


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, date):
        return f"date {literal(value)}"
    return literal(value)


def _differing(models: dict[str, SqlModel], file: Path) -> list[str]:
    """Name the models whose rows of the day differ between the two schemas of a file."""
    with duckdb.connect(str(file), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        differing: list[str] = []
        for name, model in models.items():
            theirs = f"{_SCHEMA}.{name}"
            columns = ", ".join(quoted(column) for column in model.columns if column != _OF_THE_RUN)
            sql = _DIFFERENCE.format(ours=model.table, theirs=theirs, columns=columns, day=DAY)
            differing += [name] if connection.execute(sql).fetchall() else []
        return differing
