"""Whether every configured source can be read, without loading anything."""

from __future__ import annotations

from dataclasses import dataclass

from csm_core.config import Config
from csm_core.errors import CSMError
from csm_core.sources.registry import get_system


@dataclass(frozen=True)
class Finding:
    """What looking at one source found; ``status`` is 0 in order, 2 something to mend, 1 something that may pass."""

    source: str
    status: int
    said: str


def examine(config: Config) -> list[Finding]:
    """Look at every source in the order of the configuration. Raises nothing for a source that cannot be read."""
    found: list[Finding] = []
    for source in config.sources:
        try:
            found.append(Finding(source.label, 0, get_system(source.system).check(source)))
        except CSMError as error:
            found.append(Finding(source.label, error.exit_status, str(error)))
    return found


def exit_status(findings: list[Finding]) -> int:
    """0 when all are in order, 2 when only what a person has to mend is in the way, else 1."""
    wrong = {finding.status for finding in findings} - {0}
    return 0 if not wrong else 2 if wrong == {2} else 1
