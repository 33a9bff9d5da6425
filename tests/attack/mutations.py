"""Mutated configurations, variables, arguments and records through the real command line."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import yaml

from tests.conftest import CSM
from tests.in_process import Done, csm
from tests.mutations import contract_records

SECONDS = 60
PUBLISHED_FROM = 500
SECRET = "ZQattackKw7-p@ss/w+rd=%"
ENVIRONMENT = {"NOTION_TOKEN": SECRET, "STRIPE_API_KEY": SECRET, "NOTION_BASE_URL": "http://127.0.0.1:9"}

_API = {"base_url": "http://127.0.0.1:9", "key_variable": "STRIPE_API_KEY", "timeout_seconds": 1, "attempts": 1}
BASE: dict[str, Any] = {
    "warehouse": "data/csm.duckdb",
    "timezone": "Europe/Berlin",
    "partitions_start": "2026-01-01",
    "sources": [
        {"system": "files", "path": "records", "entities": ["accounts", "features", "usage_events"]},
        {"system": "stripe", "name": "billing", "api": _API},
        {"system": "zendesk", "path": "zendesk"},
        {"system": "hubspot", "path": "hubspot", "accounts": {"segment": "industry"}},
        {"system": "delighted", "path": "delighted", "columns": {"score": "Mark"}},
        {"system": "segment", "path": "segment"},
    ],
    "identity": {"account_map": "map.csv"},
    "policies": [{"tenant": "north", "segment": "enterprise", "from": "2026-01-01", "green_threshold": 75}],
    "signals": {"login_window_days": 60, "excluded_interaction_kinds": ["automated"]},
    "expansion": {"seats_percent": 80},
    "checks": {"max_silent_days": 3, "freshness": {"tickets": 30}},
    "notion": {"create_missing_accounts": True},
    "memory_limit": "1GB",
    "threads": 2,
    "log_format": "console",
    "max_rejected_percent": 5.0,
}
LONG = "x" * 300
VALUES: list[Any] = [
    *(None, True, 0, -1, 1, 10**9, 10**30, -(10**400), 0.5, float("inf"), float("nan"), "", " ", "a", LONG, "\x1b[2J"),
    *("a\0b", "~nosuchuser/x", "~", "/etc/passwd/x", "/dev/null", "/dev/full", "..", "a/" * 3000, "{}", "'", '"; drop'),
    *("2026-02-30", "2026-13-01", "0000-00-00", "9999-12-31", "0001-01-01", "2026-01-01T25:00:00Z", "now", "-1 day"),
    *("http://[::1", "http://h:99999", f"http://u:{SECRET}@h:x", "htp://x", "http://xn--/", "ftp://h", "http://a\x01b"),
    *(
        "0GB",
        "1e9GB",
        "-1GB",
        "99999999TB",
        "1GB\n",
        "1",
        "é",
        "\u202e",
        "\U0001f600",
        "$HOME",
        "%s",
        "{0}",
        "*",
        "[a-z",
    ),
    *(
        [],
        {},
        [[]],
        [None],
        {"a": 1},
        {"": ""},
        {"system": "files"},
        [{"system": 1}],
        ["x"] * 50,
        {"a": {"b": {"c": []}}},
    ),
]
TEXTS = [
    *(
        "!!int abc",
        "!!float x",
        "!!timestamp x",
        "!!binary #",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "!!python/name:os.system",
    ),
    *(
        "0b_",
        "0x_",
        "0o9",
        "1_000",
        "12:30:61",
        "&a [*a]",
        "&a {x: *a}",
        "*nothing",
        "<<: 1",
        "{<<: [a]}",
        "? [a]",
        "? {}",
    ),
    *(
        "2026-02-30",
        "2026-01-01 00:00:00 +99:99",
        "!!timestamp 2026-02-30",
        "|\n  x",
        ">-\n  y",
        "'",
        '"',
        "\t",
        "%YAML 9.9",
    ),
    *(
        "[" * 900,
        "{a: " * 400,
        "- " * 300 + "x",
        "!" * 50,
        "!<!>",
        "@",
        "`",
        "\ufffe",
        "\x85",
        "\u2028",
        "=",
        "~",
        ".inf",
    ),
]
VARIABLE_NAMES = [
    *(
        "CSM_WAREHOUSE",
        "CSM_TIMEZONE",
        "CSM_PARTITIONS_START",
        "CSM_SOURCES",
        "CSM_POLICIES",
        "CSM_SIGNALS",
        "CSM_THREADS",
    ),
    *(
        "CSM_MEMORY_LIMIT",
        "CSM_LOG_FORMAT",
        "CSM_SIGNALS__LOGIN_WINDOW_DAYS",
        "CSM_SIGNALS__",
        "CSM_CHECKS__FRESHNESS__X",
    ),
    *(
        "CSM_SIGNALS__A__B",
        "CSM_CONFIG",
        "CSM_IDENTITY__ACCOUNT_MAP",
        "DAGSTER_HOME",
        "NOTION_TOKEN",
        "NOTION_BASE_URL",
    ),
    *(
        "NOTION_DATABASE_ID",
        "NOTION_REQUESTS_PER_MINUTE",
        "CSM_ALERT_WEBHOOK",
        "CSM_NOTION",
        "CSM_EXPANSION__SEATS_PERCENT",
    ),
]
ARGUMENTS = [
    *(
        "",
        " ",
        "x",
        LONG,
        "a" * 5000,
        "~nosuchuser",
        "/etc/passwd/x",
        "/dev/null",
        "/dev/full",
        ".",
        "records",
        "--",
        "-1",
    ),
    *(
        "99999",
        "1e9",
        "2026-02-30",
        "9999-12-31",
        "0001-01-01",
        "é",
        "\udcff",
        "\x1b[2J",
        "'; drop table x; --",
        "%s",
        "{}",
    ),
    *("csm.yaml", "records/accounts.csv", "none.csv", "none.parquet", "out.xlsx", "a\nb", "*", "http://h", "a/b"),
]
CHECKED_BY_CONFIG = [["config"], ["config", "--json"]]
READING = [
    *(["sql", "select 1"], ["quarantine"], ["identity"], ["notion", "plan"], ["notion", "doctor"], ["explain", "a1"]),
    *(["notion", "apply", "--dry-run"], ["run", "--select", "nothing"], ["backup", "backups"], ["doctor"]),
]
WITH_ARGUMENT = [
    *(["sql", "{}"], ["sql", "select 1", "--format", "{}"], ["explain", "{}"], ["explain", "a1", "--as-of", "{}"]),
    *(["score", "{}"], ["score", "signals.csv", "--out", "{}"], ["score", "signals.csv", "--green", "{}"]),
    *(
        ["whatif", "--policy", "{}"],
        ["whatif", "--policy", "csm.yaml", "--from", "{}"],
        ["restore", "{}"],
        ["run", "--as-of", "{}"],
    ),
    *(["run", "--select", "{}"], ["run", "--accept", "{}"], ["run", "--from", "{}", "--to", "2026-01-02"]),
    *(
        ["config", "--config", "{}"],
        ["quarantine", "{}"],
        ["quarantine", "--limit", "{}"],
        ["quarantine", "--out", "{}"],
    ),
    *(["identity", "--out", "{}"], ["notion", "init", "--parent", "{}"], ["notion", "sandbox", "--port", "{}"], ["{}"]),
    *(["backup", "{}"], ["backup", "backups", "--keep", "{}"]),
    *(["backtest", "--from", "{}"], ["backtest", "--segment", "{}"], ["backtest", "--lead", "{}"]),
]
SIGNALS = "account_id,feature_adoption_rate,usage_trend,login_frequency_days\na1,0.5,growing,3\n"


@dataclass
class Result:
    """What was tried, by kind and exit status, and what was found."""

    tried: Counter[str] = field(default_factory=Counter[str])
    statuses: Counter[int] = field(default_factory=Counter[int])
    findings: list[str] = field(default_factory=list[str])
    losses: list[str] = field(default_factory=list[str])


class _HangError(Exception):
    """A command that did not end."""


def attack(folder: Path, mutations: int, seed: int = 1, *, in_processes: int = 0) -> Result:
    """Try so many mutations below ``folder``, and some of them once more as processes of their own."""
    dice = random.Random(seed)
    result = Result()
    kinds: list[tuple[Callable[..., tuple[list[str], dict[str, str]]], int]] = [
        (_mutated_values, 40),
        (_mutated_text, 20),
        (_mutated_variables, 15),
        (_mutated_arguments, 15),
        (_mutated_records, 10),
    ]
    again: list[tuple[list[str], dict[str, str], Path, int]] = []
    template = _published(folder / "template") if mutations >= PUBLISHED_FROM else None
    for number in range(mutations):
        (make,) = dice.choices([one for one, _ in kinds], [weight for _, weight in kinds])
        place = folder / "inside" / f"m{number}"
        _prepare(place)
        arguments, variables = make(place, dice)
        if template is not None and arguments[0] != "config":
            shutil.copytree(template / "data", place / "data", dirs_exist_ok=True)
        done = _run(place, arguments, variables)
        result.tried[make.__name__.removeprefix("_mutated_")] += 1
        result.statuses[done.status] += 1
        problems = _judge(arguments, done)
        if problems:
            detail = f"mutation {number}: csm {' '.join(map(repr, arguments))} {variables}"
            result.findings += [f"{detail}: {problem}" for problem in problems]
        if len(again) < in_processes and dice.random() < 2 * in_processes / max(mutations, 1):
            again.append((arguments, variables, place, done.status))
        else:
            shutil.rmtree(place, ignore_errors=True)
    for arguments, variables, place, status in again:
        result.findings += _in_a_process(place, arguments, variables, status)
    losses = contract_records.mutate(folder / "records", max(200, mutations), seed)
    result.losses += [str(one) for one in losses.differences]
    if losses.written != losses.counted:
        result.losses.append(f"{losses.written:,} records written, {losses.counted:,} accounted for")
    return result


def _published(place: Path) -> Path:
    """A company with a scored and published day, so that commands have something to work on."""
    _prepare(place)
    (place / "csm.yaml").write_text(
        yaml.safe_dump({"warehouse": "data/csm.duckdb", "sources": [BASE["sources"][0]]}), encoding="utf-8"
    )
    accepted = ["--accept", "usage_delivered", "--accept", "portfolio_swing"]
    done = csm("run", "--as-of", "2026-06-01", "--no-publish", *accepted, folder=place)
    if done.status:
        message = f"the company of the attack cannot be scored: {done.stdout}{done.stderr}"
        raise RuntimeError(message)
    shutil.rmtree(place / "data" / "dagster_home", ignore_errors=True)
    return place


def _prepare(place: Path) -> None:
    for name in ("records", "zendesk", "hubspot", "delighted", "segment"):
        (place / name).mkdir(parents=True)
    records = place / "records"
    (records / "accounts.csv").write_text("account_id,account_name\na1,Ahlers\n", encoding="utf-8")
    (records / "features.csv").write_text("feature,module\nreports,core\n", encoding="utf-8")
    (records / "usage_events.csv").write_text(
        "event_id,account_id,event_name,occurred_at\ne1,a1,login,2026-06-01T00:00:00Z\n", encoding="utf-8"
    )
    (place / "signals.csv").write_text(SIGNALS, encoding="utf-8")
    (place / "map.csv").write_text("system,external_id,account_id\nstripe,cus_1,a1\n", encoding="utf-8")
    (place / "csm.yaml").write_text(yaml.safe_dump(BASE), encoding="utf-8")


def _command(dice: random.Random) -> list[str]:
    # Most configurations are rejected before a command does anything: `config` is the quickest that reads one.
    return list(dice.choice(CHECKED_BY_CONFIG) if dice.random() < 0.8 else dice.choice(READING))


def _mutated_values(place: Path, dice: random.Random) -> tuple[list[str], dict[str, str]]:
    stated = copy.deepcopy(BASE)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        holder: Any = stated
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = dice.choice(keys)
            if isinstance(holder[key], dict | list) and dice.random() < 0.7:
                holder = holder[key]
                continue
            value = copy.deepcopy(dice.choice(VALUES))
            change = dice.random()
            if change < 0.7 or isinstance(holder, list):
                holder[key] = value
            elif change < 0.85:
                holder[f"{key}{dice.choice(['x', '', ' ', '.', chr(0x1B), chr(0xE9)])}"] = holder.pop(key)
            else:
                holder[dice.choice([1, None, True, "", LONG, "system", "x"])] = value
            break
    (place / "csm.yaml").write_text(yaml.safe_dump(stated, allow_unicode=dice.random() < 0.5), encoding="utf-8")
    return _command(dice), {}


def _mutated_text(place: Path, dice: random.Random) -> tuple[list[str], dict[str, str]]:
    lines = yaml.safe_dump(BASE).splitlines()
    row = dice.randrange(len(lines))
    kind = dice.randrange(6)
    if kind == 0:
        lines[row] = f"{lines[row].partition(':')[0]}: {dice.choice(TEXTS)}"
    elif kind == 1:
        lines.insert(row, dice.choice(TEXTS))
    elif kind == 2:
        del lines[row]
    elif kind == 3:
        lines[row] = " " * dice.randrange(6) + lines[row]
    content = "\n".join(lines).encode()
    if kind == 4:
        content = "\n".join(lines).encode(dice.choice(["utf-16", "utf-32", "utf-8-sig", "cp037"]))
    elif kind == 5:
        spot = dice.randrange(len(content))
        noise = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 5)))
        content = content[:spot] + noise + content[spot + dice.randrange(5) :]
    (place / "csm.yaml").write_bytes(content)
    return _command(dice), {}


def _mutated_variables(place: Path, dice: random.Random) -> tuple[list[str], dict[str, str]]:
    variables: dict[str, str] = {}
    for _ in range(dice.choice((1, 1, 2))):
        value = dice.choice(
            [*TEXTS, *(item if isinstance(item, str) else json.dumps(item) for item in VALUES), "\udcff"]
        )
        variables[dice.choice(VARIABLE_NAMES)] = value.replace("\0", "")
    arguments = list(
        dice.choice([*CHECKED_BY_CONFIG, ["notion", "doctor"], ["notion", "plan"], ["run", "--select", "x"]])
    )
    return arguments, variables


def _mutated_arguments(place: Path, dice: random.Random) -> tuple[list[str], dict[str, str]]:
    arguments = [word.replace("{}", dice.choice(ARGUMENTS)) for word in dice.choice(WITH_ARGUMENT)]
    # A port that is valid would be served until Ctrl-C; whole runs belong to the crash tests.
    if "sandbox" in arguments and arguments[-1].isdecimal() and int(arguments[-1]) < 65536:
        arguments[-1] = "70000"
    if arguments[0] == "run":
        arguments += ["--select", "nothing"]
    return arguments, {}


def _mutated_records(place: Path, dice: random.Random) -> tuple[list[str], dict[str, str]]:
    kind = dice.choice(["csv", "jsonl", "parquet", "csv.gz"])
    signals = dice.random() < 0.5
    name = place / (f"input.{kind}" if signals else f"records/usage_events.{kind}")
    (place / "records" / "usage_events.csv").unlink()
    source = "select 'a' || range as account_id, 0.5 as feature_adoption_rate, 'e' || range as event_id from range(50)"
    if kind == "parquet":
        duckdb.sql(f"copy ({source}) to '{name}' (format parquet)")
    elif kind == "jsonl":
        duckdb.sql(f"copy ({source}) to '{name}' (format json)")
    else:
        duckdb.sql(f"copy ({source}) to '{name}' (format csv, compression {'gzip' if kind == 'csv.gz' else 'none'})")
    content = bytearray(name.read_bytes())
    for _ in range(dice.choice((1, 3, 20))):
        spot = dice.randrange(len(content)) if content else 0
        action = dice.randrange(4)
        if action == 0 and content:
            content[spot] = dice.randrange(256)
        elif action == 1:
            del content[spot : spot + dice.randrange(1, 100)]
        elif action == 2:
            content[spot:spot] = dice.choice(
                [b"\0", b"\xff\xfe", b"\x1b[2J", b'"', b",,,,", b"\r", b"\n\n", b"{", b"\xed\xa0\x80"]
            )
        else:
            content[spot:spot] = bytes(dice.randrange(256) for _ in range(8))
    name.write_bytes(bytes(content))
    if signals:
        return ["score", name.name, *dice.choice([[], ["--json"], ["--out", "out.csv"]])], {}
    (place / "csm.yaml").write_text(
        yaml.safe_dump({"warehouse": "w.duckdb", "sources": [BASE["sources"][0]]}), encoding="utf-8"
    )
    return ["doctor"], {}


@contextmanager
def _limit() -> Generator[None]:
    def ended(_number: int, _frame: object) -> None:
        message = f"not ended after {SECONDS} s"
        raise _HangError(message)

    before = signal.signal(signal.SIGALRM, ended)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _run(place: Path, arguments: list[str], variables: dict[str, str]) -> Done:
    try:
        with _limit():
            return csm(*arguments, folder=place, environment={**ENVIRONMENT, **variables})
    except _HangError as error:
        return Done(1, "", "", error)


def _judge(arguments: list[str], done: Done) -> list[str]:
    problems: list[str] = []
    shown = done.stdout + done.stderr
    if done.error is not None:
        where = done.stderr.strip().splitlines()[-1:] or [""]
        problems.append(f"traceback: {type(done.error).__name__}: {str(done.error)[:200]} {where[0][:200]}")
    elif done.status not in (0, 1, 2):
        problems.append(f"exit status {done.status}")
    elif arguments[0] == "config" and done.status == 1:
        problems.append(f"a configuration that is wrong has exit status 1: {done.stderr[:200]!r}")
    elif done.status and not shown.strip():
        problems.append(f"exit status {done.status} without a message")
    if any(ord(one) < 32 and one not in "\n\t" for one in shown) and arguments[0] != "sql":
        problems.append(f"control characters: {shown[:200]!r}")
    if SECRET in shown:
        problems.append("the secret is shown")
    return problems


def _in_a_process(place: Path, arguments: list[str], variables: dict[str, str], status: int) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CSM_", "NOTION_", "DAGSTER_"))}
    done = subprocess.run(
        [*CSM, *arguments],
        cwd=place,
        env={**kept, "PYTHONPATH": os.pathsep.join(sys.path), **ENVIRONMENT, **variables},
        capture_output=True,
        timeout=4 * SECONDS,
        check=False,
    )
    shown = (done.stdout + done.stderr).decode("utf-8", "replace")
    where = f"csm {arguments} {variables} in a process"
    problems = [f"{where}: traceback: {shown[-300:]}"] if "Traceback (most recent" in shown else []
    if done.returncode != status:
        problems.append(f"{where}: exit status {done.returncode}, in this process {status}: {shown[-300:]}")
    return problems
