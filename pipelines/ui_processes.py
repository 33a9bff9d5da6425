"""`csm open`: serves the Dagster UI and the pages of the Notion sandbox on this machine until Ctrl-C."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event

from csm_core.config import CONFIG_VARIABLE, Config
from csm_core.errors import InputError, RunError
from csm_core.publishing.notion.local_notion import DEFAULT_PORT as DEFAULT_PAGES_PORT
from csm_core.publishing.notion.local_notion import new_sandbox
from csm_core.publishing.notion.publish import sandbox_file
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.system.project_files import PROJECT_FILES
from pipelines.instance import HOME_VARIABLE, prepare_home

ADDRESS_VARIABLE = "CSM_DAGSTER_URL"
DEFAULT_PORT = 3000
WORKSPACE = PROJECT_FILES / "workspace.yaml"
LOG_FILE = "csm_open.log"
START_SECONDS = 180.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.2
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def open_ui(
    config: Config, file: Path | None, *, port: int | None = None, pages_port: int | None = None, browser: bool = False
) -> None:
    """Serve both until Ctrl-C, and print their addresses when they respond.

    ``file`` is the configuration file, if there is one. If a port is not set, it is the default port, or a free port if
    the default is in use. Raises InputError for a port in use and for an environment without the UI, RunError if
    Dagster does not start or stops by itself.
    """
    if importlib.util.find_spec("dagster_webserver") is None:
        message = (
            "this environment has no Dagster UI: the package dagster-webserver is not installed. "
            f"Install it with `{sys.executable} -m pip install dagster-webserver`"
        )
        raise InputError(message)
    stop = Event()
    with _stopped_by_signals(stop), ExitStack() as stack:
        pages = _start_pages(stack, config, pages_port)
        address = f"http://127.0.0.1:{free_port(DEFAULT_PORT) if port is None else _unused(port)}"
        home = prepare_home(config)
        log = home / LOG_FILE
        _print(f"Starting the Dagster UI for {file or 'the default configuration'} …")
        dagster = stack.enter_context(_dagster(config, file, home, address, log))
        if not _answers(dagster, address, stop, log):
            return
        _print(f"\n  Dagster UI     {address}\n  Notion pages   {pages}\n  log            {log}\n\nCtrl-C stops both.")
        if browser:
            for shown in (address, pages):
                if shown.startswith("http"):
                    webbrowser.open(shown)
        while not stop.wait(POLL_SECONDS):
            if dagster.poll() is not None:
                raise RunError(_ended(dagster, log))
        _print("\nStopping …")
    _print("Stopped.")


def free_port(preferred: int) -> int:
    """The preferred port of loopback if it is free, otherwise any free port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def dagster_command(port: int) -> list[str]:
    """The command that serves the UI, the schedules and the sensors on ``port`` of loopback."""
    return [sys.executable, "-m", "dagster", "dev", "-w", str(WORKSPACE), "-h", "127.0.0.1", "-p", str(port)]


def _unused(port: int) -> int:
    if free_port(port) != port:
        message = f"--port {port}: the port is in use. Choose another port, or omit --port to use a free one."
        raise InputError(message)
    return port


def _start_pages(stack: ExitStack, config: Config, port: int | None) -> str:
    """Serve the sandbox; returns its address, or a text if the pages are in a real workspace."""
    if not NotionSettings.of(os.environ).is_sandbox:
        return "in your Notion workspace, because NOTION_TOKEN is set"
    chosen = free_port(DEFAULT_PAGES_PORT) if port is None else port
    return stack.enter_context(new_sandbox(sandbox_file(config), chosen)).url


@contextmanager
def _dagster(
    config: Config, file: Path | None, home: Path, address: str, log: Path
) -> Generator[subprocess.Popen[bytes]]:
    """Run `dagster dev` in its own process group; all of its processes are stopped when the block ends."""
    environment = {**os.environ, HOME_VARIABLE: str(home)}
    if file:
        environment[CONFIG_VARIABLE] = str(file)
    if config.dagster_url is None:
        # Alerts of failed runs link to this UI.
        environment[ADDRESS_VARIABLE] = address
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            dagster_command(int(address.rpartition(":")[2])),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Dagster gets Ctrl-C once, from this process, and not also from the terminal.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let Dagster stop its processes, then kill the remaining ones."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(ProcessLookupError):
            process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            break
    deadline = time.monotonic() + STOP_SECONDS
    while _signal_group(process.pid, 0) and time.monotonic() < deadline:
        process.poll()
        time.sleep(POLL_SECONDS)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; returns whether it has any process."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _answers(process: subprocess.Popen[bytes], address: str, stop: Event, log: Path) -> bool:
    """Wait until the UI responds; returns False if it was stopped before."""
    deadline = time.monotonic() + START_SECONDS
    while not stop.wait(POLL_SECONDS):
        if process.poll() is not None:
            raise RunError(_ended(process, log))
        try:
            with urllib.request.urlopen(f"{address}/server_info", timeout=5):  # noqa: S310
                return True
        except (urllib.error.URLError, OSError):
            pass
        if time.monotonic() > deadline:
            message = f"the Dagster UI did not respond within {START_SECONDS:.0f} s; its log is {log}"
            raise RunError(message)
    return False


def _ended(process: subprocess.Popen[bytes], log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    last = "\n".join(lines[-5:])
    return f"the Dagster UI stopped with status {process.returncode}; its log is {log}, the last lines:\n{last}"


@contextmanager
def _stopped_by_signals(stop: Event) -> Generator[None]:
    """Set ``stop`` on SIGINT, SIGTERM and SIGHUP, instead of raising an exception."""
    before = {number: signal.signal(number, lambda _number, _frame: stop.set()) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
