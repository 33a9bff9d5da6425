"""Sections of the configuration that no other section refers to: checks, history, reports and identity."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from csm_core.system.config_model import ConfigModel


class FreshnessSettings(ConfigModel, frozen=True):
    """The number of days without a record after which a regular entity counts as silent; None: never.

    ``max_silent_days`` applies to ``usage_events``, regular or not.
    """

    subscriptions: int | None = Field(default=90, ge=0)
    invoices: int | None = Field(default=45, ge=0)
    tickets: int | None = Field(default=30, ge=0)
    nps_responses: int | None = Field(default=90, ge=0)
    interactions: int | None = Field(default=30, ge=0)
    tam_assessments: int | None = Field(default=90, ge=0)


class CheckSettings(ConfigModel, frozen=True):
    """Thresholds of the blocking checks between scoring and publishing."""

    max_mean_score_swing: float = Field(default=10.0, ge=0, le=100)
    max_rag_changed_percent: float = Field(default=25.0, ge=0, le=100)
    max_silent_days: int = Field(default=3, ge=0)
    freshness: FreshnessSettings = FreshnessSettings()
    scalar_sample_rows: int = Field(default=200, ge=1)

    @property
    def silence_limits(self) -> dict[str, int | None]:
        """The days without a record after which each entity counts as silent; None: never."""
        return {"usage_events": self.max_silent_days, **self.freshness.model_dump()}


class HistorySettings(ConfigModel, frozen=True):
    """How long raw records that later loads replaced are kept, in days."""

    keep_replaced_days: int = Field(default=730, ge=0, le=36_500)


class ReportSettings(ConfigModel, frozen=True):
    """How many portfolio reports are kept next to the warehouse, the newest by day; 0: runs write none."""

    keep: int = Field(default=30, ge=0, le=3660)


class IdentitySettings(ConfigModel, frozen=True):
    """Files that match vendors' customers with accounts, in addition to the ids in vendor records.

    ``account_map`` is a file with system, external_id and account_id. ``account_domains`` is a file with account_id and
    domain, for customers without another match. Each may be a folder of such files.
    """

    account_map: Path | None = None
    account_domains: Path | None = None
