"""The models of the configuration: every key of ``csm.yaml`` with its type, default and limits."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import Field, ValidationInfo, field_validator, model_validator

from csm_core.errors import InputError
from csm_core.rubric import DEFAULT_AMBER_THRESHOLD, DEFAULT_CHURN_WINDOW_DAYS, DEFAULT_GREEN_THRESHOLD
from csm_core.sources.settings import AnySource, FilesSettings
from csm_core.sources.spark_settings import SYSTEM as SPARK_SOURCE
from csm_core.sources.spark_settings import require_one_source_of_usage
from csm_core.system.config_model import ConfigModel
from csm_core.system.config_sections import CheckSettings, HistorySettings, IdentitySettings, ReportSettings
from csm_core.system.crm_section import AnyDestination, require_distinct
from csm_core.system.file_access import group_id
from csm_core.system.notion_section import NotionPublishing
from csm_core.system.paths import shown
from csm_core.system.project_files import PROJECT_FILES, PROJECT_ROOT
from csm_core.system.resources import MAX_THREADS, checked_memory
from csm_core.thresholds import Thresholds
from csm_core.warehouse.alert_settings import AlertSettings
from csm_core.warehouse.described_columns import HEALTH_LAST, require_column
from csm_core.warehouse.engine_settings import EngineConfig
from csm_core.warehouse.fx_rates import checked_currency, checked_rates, require_reporting_currency
from csm_core.warehouse.published_settings import PublishedSettings

_METRIC = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_BUILT_IN_METRICS = (
    "active_users",
    "actions",
    "features_used",
    "tickets_solved",
    "median_hours_to_solve_a_ticket",
    "seats",
)
_UMASK = re.compile(r"0?0[0-7]{2}\Z")


class Policy(ConfigModel, frozen=True):
    """Thresholds for a tenant and a segment from a start date; ``None`` matches any (docs/scoring.md, "Policies")."""

    tenant: str | None = None
    segment: str | None = None
    from_date: date | None = Field(default=None, alias="from")
    green_threshold: float = Field(default=DEFAULT_GREEN_THRESHOLD, ge=0, le=100)
    amber_threshold: float = Field(default=DEFAULT_AMBER_THRESHOLD, ge=0, le=100)
    churn_window_days: int = Field(default=DEFAULT_CHURN_WINDOW_DAYS, ge=0)

    @model_validator(mode="after")
    def _amber_below_green(self) -> Policy:
        try:
            Thresholds(self.green_threshold, self.amber_threshold, self.churn_window_days)
        except InputError as error:
            raise ValueError(str(error)) from None
        return self


class SignalSettings(ConfigModel, frozen=True):
    """Windows (in days), thresholds and lists of the signal definitions; docs/signals.md has the defaults."""

    adoption_window_days: int = Field(default=28, ge=1, le=366)
    trend_window_days: int = Field(default=28, ge=1, le=180)
    growing_percent: int = Field(default=110, ge=100, le=1_000_000)
    declining_percent: int = Field(default=90, ge=0, le=100)
    login_event_name: str = "login"
    login_window_days: int = Field(default=90, ge=1, le=366)
    engagement_window_days: int = Field(default=90, ge=1, le=366)
    engagement_high_contacts: int = Field(default=3, ge=1)
    excluded_interaction_kinds: tuple[str, ...] = ("automated", "internal")
    key_contact_roles: tuple[str, ...] = ("executive_sponsor", "champion", "decision_maker")
    active_user_window_days: int = Field(default=28, ge=1, le=366)
    sentiment_window_days: int = Field(default=90, ge=1, le=366)
    escalation_window_days: int = Field(default=90, ge=1, le=366)
    nps_window_days: int = Field(default=180, ge=1, le=731)
    tam_window_days: int = Field(default=90, ge=1, le=366)
    min_term_months: int = Field(default=2, ge=0, le=1200)


class ExpansionSettings(ConfigModel, frozen=True):
    """Thresholds of the rules in docs/signals.md, "Expansion opportunities", as integer percentages.

    An opportunity that a user closed in Notion is opened again after ``reopen_days``, if its rule still applies.
    """

    seats_percent: int = Field(default=80, ge=1, le=200)
    seats_medium_percent: int = Field(default=90, ge=1, le=200)
    seats_high_percent: int = Field(default=100, ge=1, le=200)
    peers_percent: int = Field(default=50, ge=0, le=100)
    peers_medium_percent: int = Field(default=65, ge=0, le=100)
    peers_high_percent: int = Field(default=80, ge=0, le=100)
    own_adoption_percent: int = Field(default=60, ge=0, le=100)
    reopen_days: int = Field(default=180, ge=0, le=3660)


class ReviewSettings(ConfigModel, frozen=True):
    """Settings of the business reviews in docs/signals.md, "Quarterly business reviews".

    A renewal with fewer than ``qbr_min_days`` days left gets no review: it is too late to prepare one.
    """

    qbr_min_days: int = Field(default=14, ge=0, le=90)


class RoiMetric(ConfigModel, frozen=True):
    """A metric of business reviews: the events of a feature in the period, times minutes or a value per event.

    Minutes are shown in hours. ``unit`` is the unit of ``value_per_event``, such as EUR.
    """

    feature: str = Field(min_length=1, max_length=200)
    minutes_per_event: float | None = Field(default=None, gt=0, le=100_000)
    value_per_event: float | None = Field(default=None, gt=0, le=1_000_000_000)
    unit: str = Field(default="", max_length=40)

    @model_validator(mode="after")
    def _one_factor(self) -> RoiMetric:
        if (self.minutes_per_event is None) == (self.value_per_event is None):
            message = "set either minutes_per_event or value_per_event"
            raise ValueError(message)
        if self.unit and self.value_per_event is None:
            message = "unit is the unit of value_per_event; minutes are shown in hours, so remove unit"
            raise ValueError(message)
        return self


class Config(ConfigModel, frozen=True):
    """The effective configuration. Paths are absolute; relative paths are resolved against the folder of the file."""

    warehouse: Path = PROJECT_ROOT / "data" / "csm.duckdb"
    engine: EngineConfig = EngineConfig()
    timezone: str = "UTC"
    partitions_start: date = date(2026, 1, 1)
    sources: tuple[AnySource, ...] = (FilesSettings(system="files", path=PROJECT_FILES / "examples" / "acme"),)
    identity: IdentitySettings = IdentitySettings()
    policies: tuple[Policy, ...] = ()
    signals: SignalSettings = SignalSettings()
    expansion: ExpansionSettings = ExpansionSettings()
    reviews: ReviewSettings = ReviewSettings()
    roi: dict[str, RoiMetric] = Field(default_factory=dict)
    reporting_currency: str | None = None
    fx: dict[str, Decimal] = Field(default_factory=dict, validate_default=True)
    checks: CheckSettings = CheckSettings()
    history: HistorySettings = HistorySettings()
    reports: ReportSettings = ReportSettings()
    published: PublishedSettings = PublishedSettings()
    notion: NotionPublishing = NotionPublishing()
    publish: tuple[AnyDestination, ...] = ()
    alerts: AlertSettings = AlertSettings()
    max_rejected_percent: float = Field(default=5.0, ge=0, le=100)
    min_rejected: int = Field(default=20, ge=1)
    max_closed_percent: float = Field(default=20.0, ge=0, le=100)
    late_arrival_days: int = Field(default=3, ge=0, le=366)
    catch_up_days: int = Field(default=31, ge=0, le=366)
    transition_settle_days: int = Field(default=3, ge=1, le=28)
    memory_limit: str | None = None
    threads: int | None = Field(default=None, ge=1, le=MAX_THREADS)
    log_format: Literal["console", "json"] = "console"
    umask: str | None = None
    group: str | None = None
    dagster_url: str | None = None

    @field_validator("warehouse")
    @classmethod
    def _names_a_file(cls, value: Path) -> Path:
        if value.name in ("", ".."):
            message = "expected the path of a file, such as data/csm.duckdb"
            raise ValueError(message)
        return value

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            near = difflib.get_close_matches(value, sorted(available_timezones()), n=1)
            message = f"not an IANA time zone{f'; did you mean {near[0]!r}?' if near else ''}"
            raise ValueError(message) from None
        return value

    @field_validator("memory_limit")
    @classmethod
    def _possible_memory(cls, value: str | None) -> str | None:
        return None if value is None else checked_memory(value)

    @field_validator("roi")
    @classmethod
    def _names_of_metrics(cls, value: dict[str, RoiMetric]) -> dict[str, RoiMetric]:
        for name in value:
            if not _METRIC.match(name):
                message = f"{shown(name)} is not the name of a metric. Use a name such as hours_saved"
                raise ValueError(message)
            if name in _BUILT_IN_METRICS:
                message = f"{name} is a metric of every review. Choose another name"
                raise ValueError(message)
        return value

    @field_validator("reporting_currency")
    @classmethod
    def _currency_code(cls, value: str | None) -> str | None:
        return None if value is None else checked_currency(value)

    @field_validator("fx", mode="before")
    @classmethod
    def _usable_rates(cls, value: object) -> object:
        return checked_rates(cast("dict[object, object]", value)) if isinstance(value, dict) else value

    @field_validator("fx")
    @classmethod
    def _rates_of_a_reporting_currency(cls, value: dict[str, Decimal], info: ValidationInfo) -> dict[str, Decimal]:
        # Without the key, the reporting currency is not valid, which is an error of its own.
        if "reporting_currency" in info.data:
            require_reporting_currency(info.data["reporting_currency"], value)
        return value

    @field_validator("log_format", mode="before")
    @classmethod
    def _current_log_format(cls, value: object) -> object:
        # The previous name of the format; it is still accepted.
        return "console" if value == "people" else value

    @field_validator("umask", mode="before")
    @classmethod
    def _octal_umask(cls, value: object) -> object:
        if value is not None and not (isinstance(value, str) and _UMASK.match(value)):
            message = 'expected three octal digits in quotes, the first of them 0, such as "027"'
            raise ValueError(message)
        return value

    @field_validator("group")
    @classmethod
    def _known_group(cls, value: str | None) -> str | None:
        if value is not None:
            group_id(value)
        return value

    @field_validator("dagster_url")
    @classmethod
    def _address_without_secret(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_address, parts = False, None
        # Alerts contain this address.
        if not is_address or parts is None or any(c.isspace() or not c.isprintable() for c in value):
            message = "expected the http(s) address of the Dagster UI, such as https://dagster.example.com"
            raise ValueError(message)
        if parts.username is not None or parts.query or parts.fragment:
            message = "alerts show this address, so it must not contain a user, password, query or fragment"
            raise ValueError(message)
        return value

    @field_validator("sources")
    @classmethod
    def _sources_together(cls, value: tuple[AnySource, ...], info: ValidationInfo) -> tuple[AnySource, ...]:
        if not value:
            message = "at least one source is required"
            raise ValueError(message)
        labels = [source.label for source in value]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice:
            message = f"two sources are called {twice!r}: set a different `name` for each"
            raise ValueError(message)
        engine = info.data.get("engine")
        if engine and engine.kind == "duckdb" and any(source.system == SPARK_SOURCE for source in value):
            message = "the system spark reads with the engine of the models, which is duckdb; set engine: {kind: spark}"
            raise ValueError(message)
        require_one_source_of_usage(value)
        return value

    @field_validator("publish")
    @classmethod
    def _destinations_together(cls, value: tuple[AnyDestination, ...]) -> tuple[AnyDestination, ...]:
        require_distinct(value)
        for destination in value:
            for field, column in destination.fields.items():
                require_column(HEALTH_LAST, column, f"fields.{field}")
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the schedules."""
        return ZoneInfo(self.timezone)

    @property
    def rates(self) -> dict[str, Decimal]:
        """The rate of each currency, with that of the reporting currency; empty without the setting ``fx``."""
        return {**self.fx, self.reporting_currency: Decimal(1)} if self.reporting_currency else {}

    @property
    def config_hash(self) -> str:
        """A hash, in 12 hexadecimal digits, of all settings that affect scores: signals and policies."""
        return hashlib.sha256(self.scored_settings.encode()).hexdigest()[:12]

    @property
    def scored_settings(self) -> str:
        """The settings that affect scores, as JSON text with sorted keys."""
        scored = self.model_dump(mode="json", include={"signals", "policies"})
        return json.dumps(scored, sort_keys=True, separators=(",", ":"))

    def sql_parameters(self) -> dict[str, Any]:
        """The named parameters of SQL models, except the days of the run."""
        parameters: dict[str, Any] = {}
        for section in (self.signals, self.expansion, self.reviews):
            for name, value in section.model_dump().items():
                parameters[name] = list(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value
        parameters["partitions_start"] = self.partitions_start
        parameters["transition_settle_days"] = self.transition_settle_days
        return parameters
