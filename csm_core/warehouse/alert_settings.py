"""The section ``alerts`` of the configuration: rules, routes and the size of a digest.

It is here because the condition of a rule is checked with DuckDB when the configuration is read.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from csm_core.system.addresses import MAX_PORT, checked_host, is_loopback, is_mail_address
from csm_core.system.config_model import ConfigModel
from csm_core.warehouse.alert_conditions import ConditionError, checked_condition

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")
"""The severities, the lowest first."""

DATA_TEAM = "data_team"
"""The name of the route that gets the messages about data problems."""

EVERY_OWNER = "*"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,99}\Z")

Security = Literal["starttls", "tls", "none"]
_SUBMISSION_PORT, _TLS_PORT = 587, 465
# The settings of each receiver: those that it requires, and others that it may have.
_REQUIRED = {
    "slack": ("webhook_env",),
    "webhook": ("webhook_env", "key_env"),
    "email_draft": ("folder",),
    "smtp": ("host", "sender"),
    "apprise": ("url_env",),
}
_OPTIONAL = {"smtp": ("port", "security", "user_env", "password_env", "recipient")}
_RECEIVER_SETTINGS = tuple(
    dict.fromkeys(name for settings in (*_REQUIRED.values(), *_OPTIONAL.values()) for name in settings)
)


class AlertRule(ConfigModel, frozen=True):
    """A condition on an account, and how long it must hold.

    An alert fires once the condition has been true for ``for_days`` days, and is resolved once it has been false for
    ``clear_days`` days. While the condition stays true, a reminder is sent every ``repeat_days`` days.
    """

    name: str
    when: str
    for_days: int = Field(default=1, ge=1, le=366)
    # With 1, an account that changes every day would cause a message every second day.
    clear_days: int = Field(default=4, ge=2, le=366)
    repeat_days: int = Field(default=14, ge=1, le=366)
    severity: Severity = "medium"

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return _checked_name(value)

    @field_validator("when")
    @classmethod
    def _usable_condition(cls, value: str, info: ValidationInfo) -> str:
        try:
            return checked_condition(value)
        except ConditionError as error:
            message = f"rule {info.data.get('name', 'without a valid name')}: {error}"
            raise ValueError(message) from None


class AlertRoute(ConfigModel, frozen=True):
    """Where digests are delivered: the owners and the lowest severity of their alerts, and the receiver.

    - ``outbox``: the tables of the warehouse only; ``csm alerts outbox`` shows the digests.
    - ``slack``: a Slack webhook, whose address is in the environment variable ``webhook_env``.
    - ``webhook``: JSON to the address in ``webhook_env``, signed with the key in ``key_env``.
    - ``email_draft``: a file ``.eml`` in ``folder``.
    - ``smtp``: an e-mail ``from`` an address, sent by the mail server at ``host``. It goes to the owner, or to
      ``recipient`` if the owner is not an e-mail address.
    - ``apprise``: a text to the service whose Apprise URL is in ``url_env``.
    """

    name: str = ""
    to: Literal["outbox", "slack", "webhook", "email_draft", "smtp", "apprise"]
    owner: str = Field(default=EVERY_OWNER, min_length=1, max_length=320)
    severity: Severity = "low"
    webhook_env: str | None = None
    key_env: str | None = None
    folder: Path | None = None
    host: str | None = None
    port: int | None = Field(default=None, ge=1, le=MAX_PORT)
    security: Security | None = None
    sender: str | None = Field(default=None, alias="from")
    recipient: str | None = None
    user_env: str | None = None
    password_env: str | None = None
    url_env: str | None = None

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return _checked_name(value) if value else value

    @field_validator("host")
    @classmethod
    def _is_a_host(cls, value: str | None) -> str | None:
        return None if value is None else checked_host(value)

    @field_validator("sender", "recipient")
    @classmethod
    def _is_a_mail_address(cls, value: str | None) -> str | None:
        if value is not None and not is_mail_address(value):
            message = "expected an e-mail address without a name, such as csm@example.com"
            raise ValueError(message)
        return value

    @field_validator("webhook_env", "key_env", "user_env", "password_env", "url_env")
    @classmethod
    def _is_a_variable(cls, value: str | None) -> str | None:
        if value is not None and not _VARIABLE.match(value):
            message = (
                "expected the name of an environment variable in capital letters, such as CSM_SLACK_WEBHOOK; the "
                "address, key or password itself belongs into that variable"
            )
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _settings_of_the_receiver(self) -> AlertRoute:
        required = _REQUIRED.get(self.to, ())
        allowed = (*required, *_OPTIONAL.get(self.to, ()))
        for name in _RECEIVER_SETTINGS:
            key = AlertRoute.model_fields[name].alias or name
            if name in required and getattr(self, name) is None:
                message = f"{key} is required for to: {self.to}"
                raise ValueError(message)
            if name not in allowed and getattr(self, name) is not None:
                message = f"{key} is not a setting of to: {self.to}; remove it"
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _usable_mail_server(self) -> AlertRoute:
        if self.to != "smtp":
            return self
        if (self.user_env is None) != (self.password_env is None):
            message = "user_env and password_env must be set together"
            raise ValueError(message)
        if self.security == "none" and not is_loopback(self.host or ""):
            message = (
                "security: none is only for a mail server on this machine (localhost, 127.0.0.1, [::1]), because the "
                "login and the digests are readable on the network; use starttls or tls"
            )
            raise ValueError(message)
        # The owner of a data problem is nobody, and a route of one owner has only this recipient.
        without_address = self.label == DATA_TEAM or (self.owner != EVERY_OWNER and not is_mail_address(self.owner))
        if without_address and self.recipient is None:
            owner = "data problems have no owner" if self.label == DATA_TEAM else "the owner is not an e-mail address"
            message = f"recipient is required, because {owner}"
            raise ValueError(message)
        return self

    @property
    def mail_port(self) -> int:
        """The port of the mail server: ``port``, or the usual one of its security."""
        return self.port or (_TLS_PORT if self.security == "tls" else _SUBMISSION_PORT)

    def mail_recipient(self, owner: str) -> str | None:
        """The recipient of an e-mail about the accounts of an owner; None if there is none."""
        return owner if is_mail_address(owner) else self.recipient

    @property
    def label(self) -> str:
        """The name of the route: ``name``, or its receiver."""
        return self.name or self.to


def _built_in(name: str, when: str, severity: Severity, for_days: int, clear_days: int, repeat_days: int) -> AlertRule:
    """A rule whose condition a test checks: validating it here would start DuckDB on every import."""
    return AlertRule.model_construct(
        name=name, when=when, for_days=for_days, clear_days=clear_days, repeat_days=repeat_days, severity=severity
    )


BUILT_IN_RULES: tuple[AlertRule, ...] = (
    _built_in("turned_red", "rag = 'RED'", "high", 2, 4, 14),
    _built_in("dropped_10_points", "score_change_7d <= -10", "high", 2, 7, 14),
    _built_in("critical_churn_risk", "churn_risk_level = 'critical'", "critical", 2, 4, 14),
    _built_in(
        "renewal_within_60_days_not_green", "days_to_renewal between 0 and 60 and rag <> 'GREEN'", "high", 2, 7, 30
    ),
    _built_in("no_usage_for_14_days", "days_without_usage >= 14", "medium", 1, 4, 28),
    _built_in(
        "no_key_contact_for_90_days",
        "key_contacts = 0 and not contains(missing_signals, 'stakeholder_engagement')",
        "low",
        1,
        4,
        30,
    ),
)
"""The rules that are in effect with ``built_in_rules``; a test checks their conditions."""

_OUTBOX = (
    AlertRoute.model_construct(name="outbox", to="outbox", owner=EVERY_OWNER, severity="low"),
    AlertRoute.model_construct(name=DATA_TEAM, to="outbox", owner=EVERY_OWNER, severity="low"),
)


class AlertSettings(ConfigModel, frozen=True):
    """Alerts: ``rules`` in addition to the built-in ones, and the ``routes`` of digests.

    A rule with the name of a built-in rule replaces it. Without ``routes``, digests stay in the warehouse.
    """

    built_in_rules: bool = True
    rules: tuple[AlertRule, ...] = ()
    routes: tuple[AlertRoute, ...] = ()
    max_lines: int = Field(default=20, ge=1, le=40)

    @model_validator(mode="after")
    def _distinct_names(self) -> AlertSettings:
        _require_distinct("rules", [rule.name for rule in self.rules])
        _require_distinct("routes", [route.label for route in self.routes])
        return self

    @property
    def active_rules(self) -> tuple[AlertRule, ...]:
        """The built-in rules that are not replaced, and the configured rules."""
        own = {rule.name for rule in self.rules}
        built_in = BUILT_IN_RULES if self.built_in_rules else ()
        return (*(rule for rule in built_in if rule.name not in own), *self.rules)

    @property
    def account_routes(self) -> tuple[AlertRoute, ...]:
        """The routes of alerts about accounts."""
        return tuple(route for route in self.routes or _OUTBOX if route.label != DATA_TEAM)

    @property
    def data_route(self) -> AlertRoute:
        """The route of messages about data problems: ``data_team``, or else the tables of the warehouse."""
        return next((route for route in self.routes if route.label == DATA_TEAM), _OUTBOX[1])

    def route(self, label: str) -> AlertRoute | None:
        """The route with this name; None if the configuration has it no more."""
        return next((one for one in (*self.account_routes, self.data_route) if one.label == label), None)


def _checked_name(value: str) -> str:
    if not _NAME.match(value):
        message = "expected a name of lower-case letters, digits and underscores, such as turned_red"
        raise ValueError(message)
    return value


def _require_distinct(what: str, names: Collection[str]) -> None:
    listed = list(names)
    twice = next((name for name in listed if listed.count(name) > 1), None)
    if twice:
        message = f"two {what} are called {twice!r}: set a different `name` for each"
        raise ValueError(message)
