"""Paths of the configuration, of arguments and of variables: what cannot be one is an error of the input."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_core.commands.command_line import explained
from csm_core.system.paths import checked_path
from tests.in_process import csm

LONG = "x" * 256
BAD = [
    ("~nosuchuser/x", "there is no such user"),
    (LONG, "256 bytes"),
    ("a/" * 2100 + "x", "bytes; at most 4,095"),
    ("{file}/x/y", "is not a folder"),
    ("{loop}/x", "loop of symbolic links"),
    ("\udcff", "not valid UTF-8"),
]
COMMANDS = [
    ["config", "--config", "{}"],
    ["sql", "select 1", "--config", "{}"],
    ["run", "--config", "{}"],
    ["doctor", "--config", "{}"],
    ["notion", "plan", "--config", "{}"],
    ["notion", "sandbox", "--config", "{}"],
    ["score", "{}"],
    ["score", "signals.csv", "--out", "{}"],
    ["whatif", "--policy", "{}"],
    ["backtest", "--html", "{}"],
    ["restore", "{}"],
    ["backup", "{}"],
    ["quarantine", "--out", "{}"],
    ["identity", "--out", "{}"],
    ["demo", "--folder", "{}"],
]


@pytest.fixture
def bad(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return {"file": str(tmp_path / "file"), "loop": str(tmp_path / "loop")}


@pytest.mark.parametrize(("path", "reason"), BAD)
def test_every_command_rejects_a_path_that_cannot_be_one(path, reason, bad, tmp_path):
    for command in COMMANDS:
        done = csm(*(word.replace("{}", path.format(**bad)) for word in command), folder=tmp_path)
        assert (done.status, done.stdout) == (2, ""), (command, done)
        assert reason in done.stderr, command
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("path", "reason"), [*BAD[:5], ("a\0b", "NUL")])
@pytest.mark.parametrize("key", ["warehouse", "identity.account_map", "sources.0.path"])
def test_every_path_of_the_configuration_is_checked(path, reason, key, bad, tmp_path):
    import json

    given_path = json.dumps(path.format(**bad))
    text = {
        "warehouse": f"warehouse: {given_path}",
        "identity.account_map": f"identity: {{account_map: {given_path}}}",
        "sources.0.path": f"sources: [{{system: files, path: {given_path}}}]",
    }[key]
    (tmp_path / "csm.yaml").write_text(text)
    done = csm("config", folder=tmp_path)
    assert done.status == 2
    assert f"  {key}: " in done.stderr
    assert reason in done.stderr
    assert str(tmp_path / "csm.yaml") in done.stderr


def test_variables_with_paths_are_checked_and_named(bad, tmp_path):
    for name in ("CSM_CONFIG", "CSM_WAREHOUSE"):
        done = csm("config", folder=tmp_path, environment={name: f"{bad['file']}/x"})
        assert (done.status, name in done.stderr) == (2, True), done
    (tmp_path / "csm.yaml").write_text("warehouse: w/csm.duckdb")
    done = csm("run", folder=tmp_path, environment={"DAGSTER_HOME": f"{bad['file']}/x"})
    assert (done.status, "DAGSTER_HOME" in done.stderr) == (2, True), done


def test_the_sandbox_rejects_ports_that_are_none(tmp_path):
    (tmp_path / "csm.yaml").write_text("warehouse: w/csm.duckdb")
    for port in ("99999", "-1", "65536", "text", "1e3"):
        done = csm("notion", "sandbox", "--port", port, folder=tmp_path)
        assert (done.status, "port" in done.stderr) == (2, True), done


@given(st.text(min_size=1))
def test_any_text_is_a_path_or_a_value_error(text):
    try:
        path = checked_path(text, Path("/tmp"))
    except ValueError:
        return
    assert path.is_absolute()
    path.exists()


def test_a_full_disk_is_a_failure_and_a_path_is_input():
    assert explained(OSError(errno.ENOSPC, "No space left on device", "/x/y")) == (
        "/x/y: No space left on device. Free space on that disk, and run the same command again.",
        1,
    )
    message = explained(NotADirectoryError(errno.ENOTDIR, "Not a directory", "/x/y"))
    assert message is not None
    assert message[1] == 2
    assert explained(KeyError("x")) is None
