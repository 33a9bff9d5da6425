"""`csm open` with real processes: both servers answer, and Ctrl-C ends both with everything that they started."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from csm_core.config import PROJECT_ROOT
from tests.process_group import end_group


def settings(folder: Path) -> Path:
    file = folder / "csm.yaml"
    file.write_text(
        f"warehouse: csm.duckdb\nsources:\n  - {{system: files, path: {PROJECT_ROOT / 'examples' / 'acme'}}}\n"
    )
    return file


def environment(**more: str) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("CSM_", "DAGSTER_", "NOTION_"))}
    return {**kept, "PYTHONPATH": str(PROJECT_ROOT), **more}


def csm_open(folder: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.main", "open", "--config", str(settings(folder)), *arguments],
        cwd=folder,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def addresses(process: subprocess.Popen[str]) -> list[str]:
    """What it prints until it is ready: the two addresses."""
    lines: list[str] = []
    assert process.stdout
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            return re.findall(r"http://127\.0\.0\.1:\d+", "".join(lines))
    raise AssertionError("".join(lines))


def processes_of(folder: Path) -> list[str]:
    """The processes whose Dagster home is in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"DAGSTER_HOME={folder}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def status(address: str) -> int:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return int(answer.status)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_answer_and_one_signal_ends_both(tmp_path, number):
    # Both default ports are in use: free ones are taken.
    with socket.socket() as ui, socket.socket() as pages:
        for taken, port in ((ui, 3000), (pages, 8756)):
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind(("127.0.0.1", port))
                taken.listen()
            except OSError:
                continue
        process = csm_open(tmp_path)
        try:
            shown = addresses(process)
            assert len(shown) == 2
            assert not {"http://127.0.0.1:3000", "http://127.0.0.1:8756"} & set(shown)
            assert [status(shown[0]), status(f"{shown[0]}/server_info"), status(shown[1])] == [200, 200, 200]
            assert len(processes_of(tmp_path)) > 1
            process.send_signal(number)
            said, _ = process.communicate(timeout=120)
        finally:
            end_group(process)
    assert process.returncode == 0
    assert said.endswith("Stopped.\n")
    assert processes_of(tmp_path) == []
    for address in shown:
        with pytest.raises(OSError, match="refused"):
            status(address)


def test_a_port_in_use_that_was_named_is_an_error(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = csm_open(tmp_path, "--port", str(port), "--pages-port", str(free_port()))
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert said == f"csm: --port {port}: the port is in use. Choose another port, or omit --port to use a free one.\n"


def test_an_environment_without_the_ui_is_an_error(tmp_path):
    """The packages of this environment but one, in a Python that has no others."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for folder in map(Path, filter(None, sys.path)):
        if folder.name == "site-packages":
            for package in folder.iterdir():
                if not package.name.startswith("dagster_webserver") and not (packages / package.name).exists():
                    (packages / package.name).symlink_to(package)
    done = subprocess.run(
        [sys.executable, "-S", "-m", "pipelines.main", "open", "--config", str(settings(tmp_path))],
        cwd=tmp_path,
        env=environment(PYTHONPATH=f"{PROJECT_ROOT}:{packages}"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "the package dagster-webserver is not installed" in done.stderr
    assert f"`{sys.executable} -m pip install dagster-webserver`" in done.stderr
    assert not (tmp_path / "dagster_home").exists()


@pytest.mark.slow
def test_a_ui_that_does_not_start_is_an_error_that_names_its_log(tmp_path):
    (tmp_path / "dagster_home").mkdir()
    (tmp_path / "dagster_home" / "dagster.yaml").write_text("unknown_key: 1\n")
    started = time.monotonic()
    process = csm_open(tmp_path)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "the Dagster UI stopped with status" in said
    assert str(tmp_path / "dagster_home" / "csm_open.log") in said
    assert processes_of(tmp_path) == []
    assert time.monotonic() - started < 200


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
