"""The command line, ``csm``: thin commands over the domain; heavy imports wait until a command needs them.

Running the pipeline itself takes Dagster, which the domain does not know: ``pipelines.main`` hands a runner in.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from csm_core.errors import ConfigError, InputError
from csm_core.rubric import DEFAULT_AMBER_THRESHOLD, DEFAULT_CHURN_WINDOW_DAYS, DEFAULT_GREEN_THRESHOLD
from csm_core.system.file_access import restrict_files

if TYPE_CHECKING:
    from csm_core.config import Config
    from csm_core.warehouse.database import Warehouse


class Outcome(Protocol):
    """What a runner gives back; see ``pipelines.run.RunOutcome``."""

    run_id: str
    succeeded: bool
    failures: Sequence[Any]
    held: Sequence[str]
    published: Sequence[Any]
    not_published: Sequence[str]
    staged: Sequence[Any]
    notes: Sequence[str]
    late: tuple[date, date] | None
    late_records: Sequence[Any]
    unread: Sequence[Any]
    records: Sequence[Any]

    @property
    def exit_status(self) -> int:
        """The process's exit status."""
        ...


Runner = Callable[..., Outcome]

app = typer.Typer(
    name="csm",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Customer-success health: raw records to explained scores in DuckDB, published to Notion.\n\n"
    "Start with `csm demo`; then `csm run --config csm.yaml` for your own records.",
)
notion_app = typer.Typer(no_args_is_help=True, help="Set up, check, plan and apply what is published to Notion.")
app.add_typer(notion_app, name="notion")

_runner: Runner | None = None

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="csm.yaml to use; else $CSM_CONFIG, ./csm.yaml, or the embedded defaults."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]
DAY_FORMATS = ["%Y-%m-%d"]
# What a shell gives for a process that Ctrl-C ended.
INTERRUPTED = 130
TERMINATED = 143


def main(runner: Runner | None = None) -> None:
    """Run the command line; an error that has an explanation becomes a message and an exit status, not a traceback."""
    from csm_core.commands.command_line import checked_commands, explained
    from csm_core.system.terminal import clean_output

    global _runner
    _runner = runner
    with clean_output():
        try:
            restrict_files()
            checked_commands(app)()
        except KeyboardInterrupt:
            _say_stopped()
            sys.exit(INTERRUPTED)
        except SystemExit as ended:
            # Typer handles Ctrl-C itself and ends without a message.
            if ended.code == INTERRUPTED:
                _say_stopped()
            raise
        except Exception as error:
            explanation = explained(error)
            if explanation is None:
                raise
            message, status = explanation
            typer.echo(f"csm: {message}", err=True)
            sys.exit(status)


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"csm-health {version('csm-health')}")
        raise typer.Exit


@app.callback()
def _of_every_command(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """What ``csm`` itself takes, before the name of a command."""


def _say_stopped() -> None:
    # A line of progress may stand unfinished on the terminal.
    begin = "\n" if sys.stderr.isatty() else ""
    typer.echo(f"{begin}csm: stopped; run the same command again to go on", err=True)


@app.command(
    epilog="Examples:  csm run    csm run --as-of 2026-09-30 --no-publish    csm run --from 2026-07-01 --to 2026-09-30",
    short_help="Materialise a day or a range of days.",
)
def run(
    as_of: Annotated[
        datetime | None, typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="The day; default: yesterday.")
    ] = None,
    from_: Annotated[
        datetime | None, typer.Option("--from", formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="First day of a range.")
    ] = None,
    to: Annotated[
        datetime | None, typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="Last day of a range.")
    ] = None,
    config: ConfigOption = None,
    select: Annotated[str, typer.Option(help="Only these assets, separated by commas.")] = "",
    dry_run: Annotated[bool, typer.Option(help="Score, and show what would be published, without publishing.")] = False,
    no_publish: Annotated[bool, typer.Option("--no-publish", help="Score, and publish nothing.")] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK", help="Accept this failed check of the portfolio, once; it is recorded."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Materialise a day, or a range of days, through Dagster, with progress and a summary."""
    effective = _config(config)
    days = _days(effective, as_of, from_, to)
    published = not (no_publish or dry_run)
    status = execute(effective, days, select=_names(select), publish=published, accept=accept or (), as_json=as_json)
    if dry_run and status == 0:
        _print_plan(effective, as_json=False)
    raise typer.Exit(status)


@app.command(
    epilog="Example:  csm demo --folder /tmp/csm-demo", short_help="Score and publish the two bundled companies."
)
def demo(
    folder: Annotated[
        Path | None, typer.Option(help="Where to put the demo's warehouses; default: data/demo, made afresh.")
    ] = None,
) -> None:
    """Score and publish the two bundled companies, in a fresh folder, and say where to look."""
    from csm_core.operations.demo import run_demo

    run_demo(execute, folder)


def execute(
    config: Config,
    days: tuple[date, date],
    *,
    select: Sequence[str] = (),
    publish: bool = True,
    accept: Sequence[str] = (),
    as_json: bool = False,
) -> int:
    """One run with its progress and its summary; gives the exit status."""
    import getpass

    from csm_core import logging as csm_logging
    from csm_core.operations.progress import Progress
    from csm_core.operations.run_report import report_lines, report_object
    from csm_core.warehouse.database import Warehouse

    if _runner is None:
        message = "this installation cannot run the pipeline: start it as `csm`, not as a module"
        raise InputError(message)
    as_lines = config.log_format == "json"
    csm_logging.configure(config.log_format, level="INFO" if as_lines else "WARNING")
    started = time.monotonic()
    with Progress(quiet=as_json or as_lines) as progress:
        outcome = _runner(
            config,
            days,
            select=select,
            publish=publish,
            progress=progress,
            accepted=frozenset(accept),
            accepted_by=getpass.getuser(),
        )
    seconds = time.monotonic() - started
    warehouse = Warehouse.from_config(config)
    if as_json:
        typer.echo(json.dumps(report_object(outcome, warehouse, days, seconds), indent=2, default=str))
    else:
        typer.echo("\n".join(report_lines(outcome, warehouse, days, seconds)))
    return outcome.exit_status


@app.command(
    epilog="Examples:  csm score signals.csv    csm score signals.parquet --out scored.jsonl --json",
    short_help="Score a file of signals without a warehouse.",
)
def score(
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or Parquet with account_id and the 13 inputs.")],
    out: Annotated[
        Path | None, typer.Option(help="Write scores and points to this CSV, JSON lines or Parquet.")
    ] = None,
    green: Annotated[float, typer.Option(help="Score from which an account is GREEN.")] = DEFAULT_GREEN_THRESHOLD,
    amber: Annotated[float, typer.Option(help="Score from which an account is AMBER.")] = DEFAULT_AMBER_THRESHOLD,
    churn_window_days: Annotated[
        int, typer.Option(help="Days to renewal within which the contract-risk trigger applies.")
    ] = DEFAULT_CHURN_WINDOW_DAYS,
    as_json: JsonOption = False,
) -> None:
    """Score a file of signals without a warehouse; bad rows are reported with their line, the others scored."""
    from csm_core.analysts.score_file import score_file
    from csm_core.system.terminal import printable
    from csm_core.vectorized_scorer import VectorizedCSMHealthScorer

    scorer = VectorizedCSMHealthScorer(
        green_threshold=green, amber_threshold=amber, churn_window_days=churn_window_days
    )
    report = score_file(file, out=out, scorer=scorer, listed=as_json and out is None)
    if report.note:
        typer.echo(f"Note: {file}: {printable(report.note, 400)}", err=True)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2, default=str))
        raise typer.Exit(report.exit_status)
    typer.echo(f"{report.scored:,} rows scored, written to {out}" if out else report.table)
    for bad in report.bad:
        where = f"account {bad.account_id!r}" if bad.account_id else ""
        said = " ".join(filter(None, (bad.field, printable(bad.reason, 160))))
        typer.echo(": ".join(filter(None, (f"{file}, line {bad.line}", where, said))), err=True)
    if report.bad:
        typer.echo(f"{len(report.bad):,} rows were not scored", err=True)
        raise typer.Exit(2)


@app.command(
    epilog='Example:  csm sql "select rag, count(*) from csm_health_current group by rag" --format csv',
    short_help="Query the published copy of the marts.",
)
def sql(
    query: Annotated[str, typer.Argument(help="A SELECT on the published marts; their schema is on the path.")],
    config: ConfigOption = None,
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    as_json: JsonOption = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Stop the query after this many seconds; default: 300; 0: never.")
    ] = None,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="Let the query reach files, the network and settings.")
    ] = False,
) -> None:
    """Query the published copy of the marts, which never waits for a run. Files and network are out of reach."""
    from csm_core.analysts.queries import DEFAULT_TIMEOUT_SECONDS, query_published
    from csm_core.system.terminal import write_data

    limit = DEFAULT_TIMEOUT_SECONDS if timeout is None else timeout
    answer = query_published(
        _warehouse(config), query, "json" if as_json else form, unsafe=unsafe, timeout=limit or None
    )
    write_data(answer)


@app.command(
    epilog="Examples:  csm explain A0026    csm explain A0026 --as-of 2026-09-30 --since 2026-09-29 --json",
    short_help="Explain an account's score and its changes.",
)
def explain(
    account: Annotated[str, typer.Argument(help="Account id, tenant/account, or the account's exact name.")],
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="The day; default: its latest complete day."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="Show what changed since this day, in parts that add up."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say where an account's score comes from, what changed, and what would reach the next band."""
    from csm_core.analysts.explain_account import explain_account
    from csm_core.analysts.queries import open_published
    from csm_core.warehouse.day_status import require_counted

    warehouse, asked = _warehouse(config), [one.date() if one else None for one in (as_of, since)]
    with warehouse.look() as connection:
        # The copy lists a day that failed only when the next run has replaced it.
        for day in filter(None, asked):
            if connection:
                require_counted(connection, day)
    with open_published(warehouse) as connection:
        report = explain_account(connection, account, *asked)
    typer.echo(json.dumps(report.as_dict(), indent=2, default=str) if as_json else report.text())


@app.command(
    epilog="Example:  csm whatif --policy stricter.yaml --from 2026-09-01 --to 2026-09-30",
    short_help="Compare other policies with the scored days.",
)
def whatif(
    policy: Annotated[Path, typer.Option(help="A csm.yaml whose `policies` are tried.")],
    from_: Annotated[
        datetime | None, typer.Option("--from", formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="First scored day.")
    ] = None,
    to: Annotated[
        datetime | None,
        typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="Last scored day; default: the latest."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what other policies would have done to the scored days. Writes nothing."""
    from csm_core.analysts.queries import open_history
    from csm_core.analysts.whatif import what_if
    from csm_core.config import load_config

    if not policy.is_file():
        raise InputError(f"{policy}: no such file; --policy names a csm.yaml whose `policies` are tried")
    tried = load_config(policy, {}).policies
    with open_history(_warehouse(config)) as connection:
        report = what_if(connection, tried, from_.date() if from_ else None, to.date() if to else None)
    typer.echo(json.dumps(report.as_dict(), indent=2, default=str) if as_json else report.text())


@app.command(
    "config", epilog="Example:  csm config --config csm.yaml --json", short_help="Print the effective configuration."
)
def show_config(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print the effective configuration: the file, overridden by CSM_… variables, and the defaults."""
    effective = _config(config).model_dump(mode="json", by_alias=True)
    if as_json:
        typer.echo(json.dumps(effective, indent=2))
        return
    import yaml

    typer.echo(yaml.safe_dump(effective, sort_keys=False, allow_unicode=True), nl=False)


@app.command("doctor", epilog="Example:  csm doctor --json", short_help="Check all sources and list their problems.")
def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check every source and its first records, and list all problems. Writes nothing to the warehouse.

    Exits with status 2 if something must be fixed, 1 if a source cannot be reached. For Notion: `csm notion doctor`.
    """
    from dataclasses import asdict

    from csm_core.doctor.report import examine, exit_status, report

    findings = examine(_config(config))
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in findings], indent=2, default=str))
    else:
        typer.echo(report(findings))
    raise typer.Exit(exit_status(findings))


@app.command(
    epilog="Examples:  csm quarantine    csm quarantine tickets --out f.csv    csm quarantine repair f.csv",
    short_help="Show, export or repair rejected records.",
)
def quarantine(
    entity: Annotated[
        str | None, typer.Argument(help="Show the rejected records of this entity; `repair`: take FILE back in.")
    ] = None,
    file: Annotated[
        Path | None, typer.Argument(help="With `repair`: an export whose values were corrected, whatever its name.")
    ] = None,
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of records.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Export them to this CSV, JSON lines or Parquet file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show rejected records and the reasons, export them for correction, or take a corrected export back in.

    `csm quarantine repair FILE` exits with status 2 if some of the corrected records are still rejected.
    """
    from csm_core.staging.quarantine_report import quarantine_text

    if entity == "repair":
        _repair(config, file, as_json=as_json)
        return
    if file:
        message = f"unexpected argument {str(file)!r}: only `csm quarantine repair` takes a file"
        raise InputError(message)
    typer.echo(quarantine_text(_warehouse(config), entity, limit=limit, out=out, as_json=as_json))


def _repair(config: Path | None, file: Path | None, *, as_json: bool) -> None:
    from dataclasses import asdict

    from csm_core.operations.quarantine_repair import repair

    if file is None:
        message = "`csm quarantine repair` needs the corrected export: csm quarantine repair FILE"
        raise InputError(message)
    report = repair(_config(config), file)
    typer.echo(json.dumps(asdict(report), indent=2, default=str) if as_json else report.text())
    raise typer.Exit(2 if report.still_rejected else 0)


@app.command(
    epilog="Examples:  csm identity    csm identity --json    csm identity --out account_map/new.csv",
    short_help="Show how vendors' customers match accounts.",
)
def identity(
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of unmatched customers per source.")] = 20,
    out: Annotated[
        Path | None, typer.Option(help="Write all unmatched customers to this CSV, JSON lines or Parquet file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which customers of vendors are matched with an account, which are not, and their closest candidates."""
    from csm_core.accounts.report import identity_text

    typer.echo(identity_text(_warehouse(config), limit=limit, out=out, as_json=as_json))


@app.command(
    epilog="Example:  csm backup /var/backups/csm-health --keep 14", short_help="Copy the warehouse to a new folder."
)
def backup(
    folder: Annotated[Path, typer.Argument(help="Folder of the backups; each is a folder in it.")],
    config: ConfigOption = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Keep only the newest N backups.")] = None,
) -> None:
    """Copy the warehouse, between two steps if a run is in progress, and print where the copy is."""
    from csm_core.operations.backup import back_up

    with _ended_by_sigterm():
        typer.echo(str(back_up(_warehouse(config), folder, keep=keep)))


@app.command(
    epilog="Example:  csm restore /var/backups/csm-health/csm-backup-20260930T060000Z",
    short_help="Replace the warehouse by a backup.",
)
def restore(
    backup: Annotated[Path, typer.Argument(help="The folder of one backup.")],
    config: ConfigOption = None,
) -> None:
    """Check a backup and put it in the warehouse's place; the previous files are moved aside."""
    from csm_core.operations.restore import restore as restore_backup

    with _ended_by_sigterm():
        day, replaced = restore_backup(_warehouse(config), backup)
    typer.echo(f"restored; the newest complete day is {day}" if day else "restored; no day is complete in it")
    if replaced:
        typer.echo(f"the previous files were moved to {replaced}: delete them when they are no longer needed")
    if day:
        typer.echo("run the days after it again: csm run --from DATE --to DATE")


@contextmanager
def _ended_by_sigterm() -> Generator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that temporary files are removed."""

    def end(_signal: int, _frame: object) -> None:
        sys.exit(TERMINATED)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@notion_app.command(
    "init",
    epilog="Example:  csm notion init --parent 0123456789abcdef0123456789abcdef",
    short_help="Create the databases, or add what is missing.",
)
def notion_init(
    parent: Annotated[str | None, typer.Option(help="Page to create the databases under; the sandbox has one.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create the four databases, or add what is missing, and print the settings."""
    from csm_core.publishing.notion.commands import init

    found = init(_config(config), parent)
    typer.echo(
        json.dumps(found, indent=2) if as_json else "\n".join(f"{name}={value}" for name, value in found.items())
    )


@notion_app.command(
    "doctor", epilog="Example:  csm notion doctor --json", short_help="Check the databases and their properties."
)
def notion_doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show, for each database, what is missing or has the wrong type."""
    from csm_core.publishing.notion.commands import doctor

    findings = doctor(_config(config))
    if as_json:
        typer.echo(json.dumps(findings, indent=2))
    else:
        typer.echo(
            "\n".join(f"{one['setting']}: {one['message']}" for one in findings) or "all four databases are in order"
        )
    raise typer.Exit(1 if findings else 0)


@notion_app.command(
    "sandbox",
    epilog="Example:  csm notion sandbox --config data/demo/acme/csm.yaml --port 8756",
    short_help="Serve the local Notion sandbox and its pages.",
)
def notion_sandbox(
    config: ConfigOption = None,
    port: Annotated[int | None, typer.Option(help="Port on this machine; 0: any free one.")] = None,
) -> None:
    """Show the sandbox's pages in a browser, and serve its API, until Ctrl-C."""
    from csm_core.publishing.notion.commands import serve_sandbox

    serve_sandbox(_config(config), port)


@notion_app.command(
    "plan",
    epilog="Examples:  csm notion plan --json    csm notion plan --as-of 2026-09-30",
    short_help="Show what publishing would write.",
)
def notion_plan(
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="The day; default: the newest complete day."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what publishing the newest complete day would create, update and skip. Writes nothing."""
    _print_plan(_config(config), as_of, as_json=as_json)


@notion_app.command(
    "apply",
    epilog="Examples:  csm notion apply    csm notion apply --accept portfolio_swing",
    short_help="Publish to Notion, or accept a held day.",
)
def notion_apply(
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=DAY_FORMATS,
            metavar="YYYY-MM-DD",
            help="The day; default: the newest complete day, or held day to accept.",
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK", help="Accept this failed check of a held day; name each one. It is recorded."),
    ] = None,
    config: ConfigOption = None,
    dry_run: Annotated[bool, typer.Option(help="The same as `csm notion plan`.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish the newest complete day. With --accept, accept a held day first, and build what depends on its scores."""
    effective = _config(config)
    if dry_run:
        if accept:
            message = "--accept and --dry-run cannot be used together: accepting a day changes the warehouse"
            raise InputError(message)
        _print_plan(effective, as_of, as_json=as_json)
        return
    import getpass

    from csm_core.publishing.notion.commands import accept_and_apply, apply

    day = as_of.date() if as_of else None
    accepted: date | None = None
    if accept:
        accepted, report = accept_and_apply(effective, accept, getpass.getuser(), day)
    else:
        report = apply(effective, day)
    if as_json:
        typer.echo(json.dumps({**report.as_dict(), "accepted": str(accepted) if accepted else None}, indent=2))
    else:
        told = [f"Accepted   {accepted}: {', '.join(accept or ())}"] if accepted else []
        typer.echo("\n".join([*told, f"Published  {report.day}", *report.lines()]))
    raise typer.Exit(1 if report.failures else 0)


def _print_plan(config: Config, as_of: datetime | None = None, *, as_json: bool) -> None:
    from csm_core.publishing.notion.commands import plan

    made = plan(config, as_of.date() if as_of else None)
    typer.echo(json.dumps(made.as_dict(), indent=2) if as_json else "\n".join(made.lines()))


def _config(path: Path | None) -> Config:
    from csm_core.config import load_config

    config = load_config(path)
    restrict_files(config)
    return config


def _warehouse(path: Path | None) -> Warehouse:
    from csm_core.warehouse.database import Warehouse

    return Warehouse.from_config(_config(path))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _days(config: Config, as_of: datetime | None, first: datetime | None, last: datetime | None) -> tuple[date, date]:
    if as_of and (first or last):
        message = "give either --as-of or --from and --to, not both"
        raise InputError(message)
    if bool(first) != bool(last):
        message = "--from and --to must be given together"
        raise InputError(message)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    single = as_of.date() if as_of else yesterday
    days = (first.date(), last.date()) if first and last else (single, single)
    if days[1] < days[0]:
        message = f"--from {days[0]} is after --to {days[1]}"
        raise InputError(message)
    if days[0] < config.partitions_start:
        message = (
            f"{days[0]} is before the first partition, {config.partitions_start}: "
            "give a later day, or an earlier partitions_start in the configuration"
        )
        raise ConfigError(message)
    if days[1] > yesterday:
        message = f"{days[1]} has not ended yet (in UTC): the last day that can be run is {yesterday}"
        raise InputError(message)
    return days
