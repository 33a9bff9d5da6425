"""Who may read what is created: umask and group, set by the process, the default and csm.yaml."""

import grp
import json
import os
import subprocess
import sys

import pytest

from csm_core.config import load_config
from csm_core.doctor.examination import examine, exit_status
from csm_core.doctor.report import report
from csm_core.errors import ConfigError

CREATE = """
import json, os, sys
from pathlib import Path
os.umask(int(sys.argv[2], 8))
from csm_core.operations.backup import back_up
from csm_core.config import load_config
from csm_core.system.file_access import restrict_files
from csm_core.analysts.published_copy import publish_copy
from csm_core.warehouse.database import Warehouse
config = load_config(sys.argv[1], {})
restrict_files()
restrict_files(config)
warehouse = Warehouse.from_config(config)
with warehouse.connect() as connection:
    connection.execute("create or replace table marts.kept as select 1 as n")
publish_copy(warehouse)
back_up(warehouse, config.warehouse.parent / "backups")
found = {}
for path in (config.warehouse.parent, *config.warehouse.parent.rglob("*")):
    found[path.name] = (oct(path.stat().st_mode & 0o777), path.stat().st_gid)
print(json.dumps(found))
"""


def created(folder, settings: str, umask: str) -> dict[str, tuple[str, int]]:
    (folder / "csm.yaml").write_text(f"warehouse: data/made/csm.duckdb\n{settings}")
    command = [sys.executable, "-c", CREATE, str(folder / "csm.yaml"), umask]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("settings", "umask", "folders", "files"),
    [
        ("", "022", "0o700", "0o600"),
        ("", "000", "0o700", "0o600"),
        ("", "0277", "0o500", "0o400"),
        ('umask: "027"', "077", "0o750", "0o640"),
        ('umask: "0022"', "077", "0o755", "0o644"),
    ],
)
def test_the_modes_of_what_is_created(tmp_path, settings, umask, folders, files):
    if umask == "0277" and os.geteuid():
        pytest.skip("an owner who may not write to his own files cannot go on")
    for name, (mode, _) in created(tmp_path, settings, umask).items():
        expected = files if name.endswith((".duckdb", ".json")) else folders
        assert mode == expected, name


def test_a_group_reads_what_is_created(tmp_path):
    groups = [one.gr_gid for one in grp.getgrall() if os.geteuid() == 0 or one.gr_gid in os.getgroups()]
    other = next((gid for gid in groups if gid != os.getegid()), None)
    if other is None:
        pytest.skip("this user has no second group")
    found = created(tmp_path, f"group: {grp.getgrgid(other).gr_name}", "022")
    assert {gid for _, gid in found.values()} == {other}
    for name, (mode, _) in found.items():
        assert mode == ("0o640" if name.endswith((".duckdb", ".json")) else "0o750"), name
    # Folders that existed before keep their group; the files in them have the one of csm.yaml.
    home = tmp_path / "data" / "made"
    for path in (home, home / "published"):
        path.chmod(0o750)
        os.chown(path, -1, os.getegid())
    for name in ("csm.duckdb", "published/csm_analytics.duckdb"):
        (home / name).unlink()
    found = created(tmp_path, f"group: {grp.getgrgid(other).gr_name}", "022")
    assert [found[name][1] for name in ("made", "csm.duckdb", "csm_analytics.duckdb")] == [os.getegid(), other, other]


def test_files_that_exist_keep_their_mode(tmp_path):
    created(tmp_path, "", "022")
    warehouse = tmp_path / "data" / "made" / "csm.duckdb"
    warehouse.chmod(0o644)
    assert created(tmp_path, "", "022")["csm_analytics.duckdb"][0] == "0o600"
    assert warehouse.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("umask: 027", ["csm.yaml", "umask", "in quotes", "23"]),
        ('umask: "9"', ["csm.yaml", "umask", "three octal digits", "'9'"]),
        ('umask: "777"', ["csm.yaml", "umask", "the first of them 0"]),
        ("group: no_such_group", ["csm.yaml", "group", "this machine has no group", "'no_such_group'"]),
        ('group: "a\\0b"', ["csm.yaml", "group", "this machine has no group"]),
        ("group: 7", ["csm.yaml", "group", "7"]),
    ],
)
def test_a_wrong_setting_names_file_key_and_value(tmp_path, settings, expected):
    (tmp_path / "csm.yaml").write_text(settings)
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "csm.yaml", {})
    assert all(part in str(error.value) for part in expected), error.value


@pytest.mark.parametrize(("mode", "word"), [(0o644, "read"), (0o666, "changed"), (0o640, None), (0o600, None)])
def test_doctor_names_a_warehouse_that_others_can_read(tmp_path, mode, word):
    (tmp_path / "csm.duckdb").touch()
    (tmp_path / "csm.duckdb").chmod(mode)
    (tmp_path / "csm.yaml").write_text("warehouse: csm.duckdb\n")
    found = [finding for finding in examine(load_config(tmp_path / "csm.yaml", {})) if finding.source == "warehouse"]
    assert exit_status(found) == 0
    assert (f"can be {word} by every user" in report(found)) == bool(word)
