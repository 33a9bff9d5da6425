"""Secrets: nothing that this project writes holds one, as it is or encoded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_core.errors import ConfigError
from csm_core.redaction import without_secrets, without_secrets_inside
from csm_core.system.secrets import secret
from tests.attack.planted import (
    ID,
    KINDS,
    VARIABLES,
    echo_service,
    forms,
    in_files,
    leaks,
    plant,
    value_of,
    write_company,
)
from tests.in_process import csm


def test_no_command_and_no_alert_shows_a_secret(tmp_path):
    assert plant(tmp_path, ["url", "line break"]) == []


@pytest.mark.slow
def test_no_command_and_no_alert_shows_a_secret_of_any_kind(tmp_path):
    assert plant(tmp_path, [kind for kind in KINDS if kind not in ("url", "line break")]) == []


def test_a_failed_publication_leaves_no_secret_in_output_warehouse_and_dagsters_files(tmp_path):
    kind = "url"
    with echo_service() as service:
        write_company(tmp_path, service, every_source=False)
        chosen = dict.fromkeys(VARIABLES, kind)
        environment = {
            **{variable: value_of(variable, kind, service) for variable in VARIABLES},
            **dict.fromkeys(("NOTION_DATABASE_ID", "NOTION_CSM_HEALTH_DATABASE_ID"), ID),
            **dict.fromkeys(("NOTION_CSM_QBR_DATABASE_ID", "NOTION_CSM_EXPANSION_DATABASE_ID"), ID),
            "NOTION_BASE_URL": service.url,
            "DAGSTER_HOME": str(tmp_path / "dagster_home"),
            "CSM_LOG_FORMAT": "json",
        }
        done = csm("run", folder=tmp_path, environment=environment)
        assert (done.status, done.error) == (1, None), done.stdout + done.stderr
        assert "FAILED" in done.stdout
        assert "(hidden)" in done.stdout
        assert service.received
    assert leaks(done.stdout + done.stderr, chosen) == []
    assert in_files(tmp_path, chosen) == []
    assert b"(hidden)" in b"".join(
        path.read_bytes() for path in (tmp_path / "dagster_home").rglob("*") if path.is_file()
    )


def test_a_token_that_no_header_can_hold_is_rejected_before_a_run_starts(tmp_path):
    with echo_service() as service:
        write_company(tmp_path, service, every_source=False)
        for value in ("ntn_first\nntn_second", "ntn_\x07bell", "ntn_é", "ntn_\udc80"):
            done = csm("notion", "doctor", folder=tmp_path, environment={"NOTION_TOKEN": value})
            assert (done.status, done.stdout) == (2, "")
            assert "NOTION_TOKEN contains" in done.stderr
            assert "ntn_" not in done.stderr
        assert service.received == []


SECRETS = st.text(min_size=8).filter(lambda text: len(set(text)) > 5 and text.strip() == text)


@given(value=SECRETS, before=st.text(), after=st.text())
def test_every_encoded_form_is_hidden(value, before, after):
    environment = {"NOTION_TOKEN": value}
    for form in forms(value):
        if len(form) >= 12:
            hidden = without_secrets(f"{before} {form} {after}", environment)
            assert form not in hidden.replace(before, "").replace(after, "")
            nested = without_secrets_inside({"a": [{"b": f"x {form} y"}]}, environment)
            assert form not in json.dumps(nested, ensure_ascii=False)


@given(st.text())
def test_a_secret_is_one_line_of_ascii_or_an_error_without_it(value):
    try:
        found = secret("X_TOKEN", "a token", {"X_TOKEN": value})
    except ConfigError as error:
        said = str(error)
        found = ""
    else:
        said = ""
    assert found in ("", value.strip())
    assert found.isascii()
    assert not found or found.isprintable()
    assert len(value.strip()) < 8 or value.strip() not in said


def test_text_without_secrets_stays(tmp_path: Path):
    text = "account a1, 75 of 100, https://api.notion.com/v1/pages"
    assert without_secrets(text, {"PATH": "account", "NOTION_TOKEN": "", "A_TOKEN": "abc"}) == text
    assert without_secrets(text * 20_000, {"NOTION_TOKEN": "ntn_not_there_at_all"}) == text * 20_000
