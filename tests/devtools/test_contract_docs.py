"""The tables of columns for readers: every column of the contract is described, and every example is accepted."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime

import pytest
import yaml

from csm_core.config import PROJECT_ROOT, Config
from csm_core.contract import ENTITIES, UPDATED
from csm_core.devtools.contract_docs import ENTITY_MEANINGS, MEANINGS, VERSION_MEANING, column_tables
from csm_core.sources.files import FilesSource
from csm_core.sources.settings import FilesSettings
from csm_core.staging.gate import stage_entity
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.models import staging_models
from tests.way_in import SilentLog


def test_every_column_of_the_contract_is_described_and_no_other():
    assert list(MEANINGS) == list(ENTITY_MEANINGS) == list(ENTITIES)
    for entity in ENTITIES.values():
        assert tuple(MEANINGS[entity.name]) == entity.column_names


@pytest.mark.parametrize("entity", ENTITIES.values(), ids=lambda entity: entity.name)
def test_levels_bounds_and_defaults_are_in_the_table(entity):
    text = column_tables().split(f"### `{entity.name}`")[1].split("###")[0]
    for column in entity.columns:
        (row,) = [line for line in text.splitlines() if line.startswith((f"| `{column.name}`", f"| **`{column.name}`"))]
        assert row.startswith("| **") == column.required
        for level in column.levels:
            assert f"`{level}`" in row
        for bound in (column.minimum, column.maximum):
            assert bound is None or f"{bound:,}" in row
        assert column.default is None or f"Empty: `{column.default}`" in row
    assert f"| `{UPDATED}`" in text


def test_the_examples_of_the_tables_are_accepted_by_the_gate(tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    for name, meanings in MEANINGS.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            written = csv.writer(file)
            written.writerow([*meanings, UPDATED])
            examples = {column: meaning.example for column, meaning in meanings.items()}
            if "account_id" in examples:
                examples["account_id"] = "A0001"
            written.writerow([*examples.values(), VERSION_MEANING.example])
    at = datetime(2026, 7, 1, tzinfo=UTC)
    with Warehouse(tmp_path / "csm.duckdb").connect() as connection:
        settings = FilesSettings(system="files", path=folder)
        FilesSource().load(connection, [settings], loaded_at=at, folder=tmp_path / "kept", log=SilentLog())
        for name, model in staging_models("files").items():
            if name == "accounts":
                accounts = stage_entity(connection, name, [("files", model.sql)], staged_at=at)
                assert (accounts.loaded, accounts.rejected) == (1, 0)
        for name, model in staging_models("files").items():
            staged = stage_entity(connection, name, [("files", model.sql)], staged_at=at)
            assert (staged.loaded, dict(staged.by_reason)) == (1, {})


PAGE = (PROJECT_ROOT / "docs" / "sources" / "files.md").read_text(encoding="utf-8")


def test_the_settings_of_the_page_are_valid():
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        Config.model_validate(yaml.safe_load(block))
    exports = PAGE.split("## Common exports")[1]
    settings = re.findall(r"`((?:columns|dates|decimal|delimiter): [^`]+)`", exports)
    assert len(settings) > 5
    for setting in settings:
        FilesSettings.model_validate({"system": "files", "path": ".", **yaml.safe_load(setting)})


def test_every_setting_of_the_source_is_on_the_page():
    for name in FilesSettings.model_fields:
        assert f"`{name}" in PAGE or f"{name}:" in PAGE, name
