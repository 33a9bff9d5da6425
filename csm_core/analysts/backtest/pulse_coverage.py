"""How many observations have a pulse, the judgement of the account's owner: the others are left out of its AUC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from csm_core.analysts.backtest.observations import Observations
from csm_core.system.text_table import counted

PULSE, SCORE_WITH_PULSE = "pulse", "score_with_pulse"


@dataclass(frozen=True)
class PulseCoverage:
    """The observations with a pulse, of ``total``, and their accounts."""

    observations: int
    accounts: int
    total: int

    @property
    def share(self) -> float | None:
        """The share of the observations; None without any observation."""
        return self.observations / self.total if self.total else None

    @property
    def text(self) -> str:
        """The coverage as a sentence."""
        if not self.observations:
            return "No observation has a pulse."
        found = f"{counted(self.observations, 'observation')} of {counted(self.accounts, 'account')}"
        have = "has" if self.observations == 1 else "have"
        return f"{found} ({self.share or 0:.1%}) {have} a pulse; the others are left out of its AUC."

    def as_dict(self) -> dict[str, object]:
        """The coverage as values of JSON."""
        return {"observations": self.observations, "accounts": self.accounts, "share": self.share}


def pulse_coverage(observations: Observations) -> PulseCoverage:
    """Return how many observations, and how many accounts, have a pulse."""
    total = len(observations.day)
    pulses = observations.baselines.get(PULSE)
    if pulses is None:
        return PulseCoverage(0, 0, total)
    known = ~np.isnan(pulses)
    return PulseCoverage(int(known.sum()), len(np.unique(observations.account[known])), total)
