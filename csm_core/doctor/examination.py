"""`csm doctor`: reads the first records of every source and reports all problems at once, before any run.

First, each source is checked. Then the loader loads copies of the first records of its files and tables into a
warehouse in a temporary folder, and the rules of the gate are applied to each column. A problem in one file does not
hide problems in others: the copy is corrected if possible, else left out, and the rest is examined. The configured
warehouse is neither read nor written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from csm_core.config import Config
from csm_core.doctor.engine_checks import engine_check
from csm_core.doctor.sample_checks import check_samples
from csm_core.doctor.sample_problems import ERROR, WARNING, Problem
from csm_core.errors import CSMError
from csm_core.publishing.crm.commands import examine as examine_destination
from csm_core.sources.registry import get_system
from csm_core.system.crm_section import destination_name
from csm_core.system.file_access import open_to_others
from csm_core.system.text_table import counted
from csm_core.warehouse.database import Warehouse

NEEDS_FIX = 2


@dataclass(frozen=True)
class Finding:
    """The result for one source or destination.

    ``status``: 0 no errors, 2 something must be fixed, 1 not reachable now. ``message`` describes the contents of the
    source, or the reason why it cannot be read.
    """

    source: str
    status: int
    message: str
    problems: tuple[Problem, ...] = ()


def examine(config: Config) -> list[Finding]:
    """Examine every source, then every destination, in the order of the configuration. None of them raises an error."""
    reached: dict[str, tuple[int, str]] = {}
    warehouse = Warehouse.from_config(config)
    for source in config.sources:
        try:
            reached[source.label] = (0, get_system(source.system, warehouse.session).check(source))
        except CSMError as error:
            reached[source.label] = (error.exit_status, str(error))
    problems = check_samples(config, unreachable={label for label, (status, _) in reached.items() if status == 1})
    findings: list[Finding] = []
    for label, (status, message) in reached.items():
        own = tuple(problem for problem in problems.pop(label, []) if problem.file or problem.message != message)
        errors = [problem for problem in own if problem.level == ERROR]
        if status and any(problem.file and message.startswith(f"{problem.file}:") for problem in errors):
            # The check of a source stops at the first problem, which is also among the problems of all files.
            message = counted(len(errors), "error")
        findings.append(Finding(label, max(status, NEEDS_FIX if errors else 0), message, own))
    findings += _destinations(config)
    findings += _access(config)
    engine = engine_check(config)
    if engine:
        findings.append(Finding("engine", *engine))
    for label, own in problems.items():
        worst = NEEDS_FIX if any(problem.level == ERROR for problem in own) else 0
        findings.append(Finding(label, worst, "", tuple(own)))
    return findings


def _destinations(config: Config) -> list[Finding]:
    """The settings of HubSpot and Salesforce as destinations, compared with their fields. Nothing is written."""
    findings: list[Finding] = []
    for destination in config.publish:
        status, message, problems = examine_destination(destination)
        found = tuple(Problem(ERROR, "destination", one) for one in problems)
        findings.append(Finding(f"publish {destination_name(destination)}", status, message, found))
    return findings


def _access(config: Config) -> list[Finding]:
    allowed = open_to_others(config.warehouse)
    if allowed is None:
        return []
    message = (
        f"{config.warehouse} can be {allowed} by every user of this machine, if they can open its folder: "
        f"chmod o-rwx {config.warehouse}"
    )
    return [Finding("warehouse", 0, "", (Problem(WARNING, "file_access", message, file=str(config.warehouse)),))]


def exit_status(findings: Sequence[Finding]) -> int:
    """2 if something must be fixed, else 1 if a source cannot be reached now, else 0."""
    return max((finding.status for finding in findings), default=0)
