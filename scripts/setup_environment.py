"""Creates the environment in ``.venv`` from a lock file, and says what it installs, how much and how long it takes.

It uses only the standard library. uv installs the packages: the uv on PATH, or one that pip installs into the
environment from ``scripts/installer.lock``. Where there is no uv, pip installs the same lock, which takes longer.
Both read the same package index: uv gets the index of pip's configuration in its environment.

    python3 scripts/setup_environment.py requirements.lock --ready .venv/.ready
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTALLER_LOCK = ROOT / "scripts" / "installer.lock"
OLDEST_PYTHON = (3, 11)
FIRST_UNSUPPORTED_PYTHON = (3, 14)
TICK_SECONDS = 10.0
# pip's settings and the variables that tell uv the same. Each takes a list separated as its value says.
_SETTINGS = (
    ("index-url", "UV_INDEX_URL", " "),
    ("extra-index-url", "UV_EXTRA_INDEX_URL", " "),
    ("find-links", "UV_FIND_LINKS", ","),
    ("trusted-host", "UV_INSECURE_HOST", " "),
    ("default-timeout", "UV_HTTP_TIMEOUT", " "),
    ("timeout", "UV_HTTP_TIMEOUT", " "),
    ("cert", "SSL_CERT_FILE", " "),
    ("client-cert", "SSL_CLIENT_CERT", " "),
    ("proxy", "ALL_PROXY", " "),
)


class SetupError(Exception):
    """The environment cannot be set up; the message says why and what to do."""


def main(arguments: Sequence[str]) -> int:
    """Set the environment up; gives the exit status."""
    options = _options(arguments)
    try:
        _check_python(sys.version_info[:2])
        set_up(options.venv, options.lock, options.project, options.extras, options.ready)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: stopped; run the same command again to continue", file=sys.stderr)
        return 130
    return 0


def set_up(venv: Path, lock: Path, project: Path, extras: str, ready: Sequence[Path]) -> None:
    """Install the lock, the project and its extras, and touch the files that say so to make."""
    started = time.monotonic()
    count = len(pinned(lock.read_text(encoding="utf-8")))
    packages = f"{count} package{'' if count == 1 else 's'}"
    print(f"Setting up {venv} with Python {sys.version.split()[0]}: {packages} of {lock}", flush=True)
    python = _environment(venv)
    uv, environment = _uv_for(python)
    steps = [
        (f"install {packages}", ["--require-hashes", "--no-deps", "--requirement", str(lock)]),
        ("install this project, editable,", ["--no-deps", "--no-build-isolation", "--editable", str(project)]),
    ]
    if extras:
        steps.append((f"install {extras}", ["--no-build-isolation", "--editable", f"{project}[{extras}]"]))
    for title, what in steps:
        uv = _install(python, uv, environment, title, what)
    for marker in ready:
        marker.touch()
    seconds = time.monotonic() - started
    print(f"{venv} is ready: {installed_megabytes(venv):,.0f} MB in {seconds:.0f} s\n", flush=True)


def pinned(lock: str) -> list[str]:
    """The names of the packages that a lock file pins."""
    return sorted(set(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", lock, re.MULTILINE)))


def uv_variables(config_list: str, given: Mapping[str, str]) -> dict[str, str]:
    """What uv needs in its environment to use pip's index, from the text of ``pip config list``.

    As in pip, a variable of the environment counts before a value for ``pip install``, and that before a value for all
    commands. A variable of uv that is already given is kept.
    """
    settings: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for line in config_list.splitlines():
            key, separator, text = line.partition("=")
            if separator and key.startswith(f"{section}."):
                with suppress(ValueError, SyntaxError):
                    settings[key[len(section) + 1 :]] = str(ast.literal_eval(text))
    variables = {}
    for setting, variable, separator in _SETTINGS:
        if settings.get(setting):
            variables[variable] = separator.join(settings[setting].split())
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        variables["UV_NO_INDEX"] = "1"
    # pip takes a file from any of its indexes. The hashes of the lock decide which files are accepted.
    variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    variables["UV_PYTHON_DOWNLOADS"] = "never"
    if given.get("PYTHONDONTWRITEBYTECODE"):
        # Otherwise Python compiles what it imports, once. Here it would compile it at every start.
        variables["UV_COMPILE_BYTECODE"] = "1"
    return {name: value for name, value in variables.items() if not given.get(name)}


def installed_megabytes(folder: Path) -> float:
    """What the files of a folder occupy; a file with several names counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for path in folder.rglob("*"):
        status = path.lstat()
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512 if hasattr(status, "st_blocks") else status.st_size
    return total / 1_000_000


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Create an environment from a lock file.")
    parser.add_argument("lock", type=Path, help="the lock file, with hashes")
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="folder of the environment")
    parser.add_argument("--project", type=Path, default=ROOT, help="folder of the project to install, editable")
    parser.add_argument("--extras", default="", help="extras of the project beyond the lock, separated by commas")
    parser.add_argument("--ready", type=Path, action="append", default=[], help="a file to touch at the end")
    return parser.parse_args(arguments)


def _check_python(found: tuple[int, ...]) -> None:
    if not OLDEST_PYTHON <= tuple(found) < FIRST_UNSUPPORTED_PYTHON:
        version = ".".join(map(str, found))
        raise SetupError(
            f"Python {version} is not supported; csm-health needs 3.11, 3.12 or 3.13. "
            "Name another Python: make demo PYTHON=python3.12"
        )


def _environment(venv: Path) -> Path:
    """The environment's Python; an environment of another or a removed Python is replaced."""
    python = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
    wanted = f"{sys.version_info[0]}.{sys.version_info[1]}"
    with suppress(OSError):
        asked = subprocess.run(
            [str(python), "-c", "import pip, sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode == 0 and asked.stdout.strip() == wanted:
            return python
    with _step("create the environment"):
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(venv)], capture_output=True, text=True, check=False
        )
    if made.returncode:
        raise SetupError(
            f"{sys.executable} cannot create an environment in {venv}: {_last_lines(made.stdout + made.stderr)}"
        )
    return python


def _uv_for(python: Path) -> tuple[str | None, dict[str, str]]:
    """uv, on PATH or in the environment, and the variables that it needs; no uv where it cannot be installed."""
    config = subprocess.run([str(python), "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    environment = {**os.environ, **uv_variables(config.stdout, os.environ)}
    own = python.with_name("uv.exe" if os.name == "nt" else "uv")
    for found in (shutil.which("uv"), str(own)):
        if found and _works([found, "--version"]):
            return found, environment
    with _step("install uv"):
        pip = _pip(python, ["--require-hashes", "--no-deps", "--requirement", str(INSTALLER_LOCK)])
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode == 0 and _works([str(own), "--version"]):
        return str(own), environment
    print(f"    uv cannot be installed, so pip is used instead: {_last_lines(done.stderr, 1)}", flush=True)
    return None, environment


def _install(
    python: Path, uv: str | None, environment: Mapping[str, str], title: str, arguments: Sequence[str]
) -> str | None:
    """Install with uv, else with pip; gives the uv for the next step, which is none once it failed."""
    if uv:
        with _step(f"{title} with uv"):
            command = [uv, "pip", "install", "--quiet", "--python", str(python), *arguments]
            done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return uv
        print(f"    uv failed, so pip is used instead: {_last_lines(done.stderr, 3)}", flush=True)
    with _step(f"{title} with pip"):
        done = subprocess.run(_pip(python, arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f"pip cannot install the packages:\n{_last_lines(done.stdout + done.stderr, 8)}")
    return None


def _pip(python: Path, arguments: Sequence[str]) -> list[str]:
    return [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-qq", *arguments]


def _works(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _last_lines(text: str, count: int = 3) -> str:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    # pip and uv hide the passwords of addresses; this hides those that they do not know.
    return "\n".join(re.sub(r"://[^/@\s]+@", "://****@", line) for line in lines[-count:]) or "no message"


@contextmanager
def _step(title: str) -> Generator[None]:
    """Print a line for a step: when it begins, every ten seconds, and how long it took."""
    started, done = time.monotonic(), threading.Event()

    def tick() -> None:
        while not done.wait(TICK_SECONDS):
            print(f" {time.monotonic() - started:.0f} s …", end="", flush=True)

    print(f"  {title} …", end="", flush=True)
    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        print(" failed", flush=True)
        raise
    finally:
        done.set()
        thread.join()
    print(f" {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
