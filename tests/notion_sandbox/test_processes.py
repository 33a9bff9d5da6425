"""The sandbox as a process: started from the command line, killed, shared by two, its file left whole."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from notion_client import Client

from csm_core.errors import NotionError
from csm_core.notion_sandbox.address import SANDBOX_TOKEN
from csm_core.notion_sandbox.server import SandboxServer, ensure_sandbox


@contextmanager
def process(file: Path) -> Generator[tuple[subprocess.Popen[str], Client]]:
    command = [sys.executable, "-m", "csm_core.notion_sandbox", "--file", str(file), "--port", "0"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    client = Client(auth=SANDBOX_TOKEN, base_url=running.stdout.readline().strip(), retry=False)
    deadline = time.monotonic() + 10
    while True:
        try:
            client.users.me()
            break
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    try:
        yield running, client
    finally:
        client.close()
        running.kill()
        running.wait()
        running.stdout.close()


def new_page(client: Client, parent: str, name: str) -> str:
    page: Any = client.pages.create(parent={"page_id": parent}, properties={"title": [{"text": {"content": name}}]})
    return str(page["id"])


def root_of(client: Client) -> str:
    found: Any = client.search(filter={"property": "object", "value": "page"})
    return str(next(page["id"] for page in found["results"] if page["parent"]["type"] == "workspace"))


def test_everything_answered_outlives_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "notion.sqlite"
    with process(file) as (running, client):
        root = root_of(client)
        pages = [new_page(client, root, f"page {number}") for number in range(20)]
        running.send_signal(signal.SIGKILL)
        running.wait()
    with SandboxServer(file) as server:
        assert server.root_page_id == root
        assert all(server.store.pages.find(page) is not None for page in pages)
        assert len(server.store.blocks.children(root)) == 20
    connection = sqlite3.connect(file)
    assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    connection.close()
    assert [path.name for path in tmp_path.iterdir()] == ["notion.sqlite"]


def test_ctrl_c_ends_it_and_leaves_one_file(tmp_path: Path) -> None:
    file = tmp_path / "notion.sqlite"
    with process(file) as (running, client):
        new_page(client, root_of(client), "page")
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["notion.sqlite"]


def test_two_servers_over_one_file_take_turns(tmp_path: Path) -> None:
    file = tmp_path / "notion.sqlite"
    with SandboxServer(file) as one, SandboxServer(file) as two, ThreadPoolExecutor(2) as pool:
        assert one.root_page_id == two.root_page_id

        def write(server: SandboxServer) -> None:
            client = Client(auth=server.token, base_url=server.url, retry=False)
            for number in range(60):
                new_page(client, server.root_page_id, f"{server.port} {number}")
            client.close()

        list(pool.map(write, (one, two)))
        children = two.store.blocks.children(one.root_page_id)
    assert len(children) == 120
    assert sorted(row["position"] for row in children) == list(range(120))


def test_it_starts_at_once(tmp_path: Path, shown_at_the_end: list[str]) -> None:
    """How fast is a figure, and depends on the machine; what makes it slow is what it would import."""
    seconds: list[float] = []
    for number in range(3):
        started = time.perf_counter()
        with process(tmp_path / f"{number}.sqlite") as (_, client):
            client.users.me()
            seconds.append(time.perf_counter() - started)
    shown_at_the_end.append(
        f"The sandbox as a process, from its start to its first answers: {sorted(seconds)[1]:.2f} s (median of 3)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, csm_core.notion_sandbox.__main__; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"duckdb", "dagster", "numpy", "pandas", "pyarrow", "notion_client", "pydantic"} & set(loaded)


def test_it_is_one_file_in_a_folder(tmp_path: Path) -> None:
    with ensure_sandbox(tmp_path) as server:
        Client(auth=server.token, base_url=server.url).users.me()
    assert [path.name for path in tmp_path.iterdir()] == ["notion_sandbox.sqlite"]


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with SandboxServer(tmp_path / "a.sqlite") as server, pytest.raises(NotionError, match="another port") as caught:
        SandboxServer(tmp_path / "b.sqlite", server.port)
    assert f"127.0.0.1:{server.port}" in str(caught.value)


def test_stopping_twice_frees_the_port(tmp_path: Path) -> None:
    server = SandboxServer(tmp_path / "a.sqlite").start()
    server.stop()
    server.stop()
    # The port is free again.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", server.port))
        assert probe.getsockname()[1] == server.port


def test_a_damaged_file_and_a_wrong_path_are_named(tmp_path: Path) -> None:
    damaged = tmp_path / "notion.sqlite"
    damaged.write_bytes(b"garbage " * 1000)
    with pytest.raises(
        NotionError, match=r"notion\.sqlite of the Notion sandbox cannot be opened: file is not a database"
    ):
        SandboxServer(damaged)
    with pytest.raises(NotionError, match="cannot be opened"):
        SandboxServer(damaged / "below")
    command = [sys.executable, "-m", "csm_core.notion_sandbox", "--file", str(damaged / "below")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--file: {damaged} is not a folder" in done.stderr
