"""Sends digests again that are marked possibly_sent: no run does, so a user decides after looking at the receiver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb

from csm_core.errors import InputError
from csm_core.publishing.alerts import ledger
from csm_core.publishing.alerts.delivery import Clock, recover, send_each
from csm_core.publishing.alerts.digest import POSSIBLY_SENT, SENDING, Digest
from csm_core.system.text_table import counted
from csm_core.warehouse.alert_settings import AlertSettings


@dataclass(frozen=True)
class Resent:
    """The digests that are possibly_sent, and after they were sent again their outcomes. ``day`` is None without any.

    ``is_rehearsed``: nothing was sent.
    """

    day: date | None
    digests: Sequence[Digest]
    is_rehearsed: bool

    @property
    def unsent(self) -> int:
        """The number of digests that were to be sent, and were not or perhaps not."""
        return 0 if self.is_rehearsed else sum(digest.status != "sent" for digest in self.digests)

    def as_dicts(self) -> list[dict[str, Any]]:
        """For ``--json``."""
        return [
            {
                "digest_id": digest.digest_id,
                "day": digest.day.isoformat(),
                "route": digest.route,
                "owner": digest.owner or None,
                "kind": digest.kind,
                "accounts": len(digest.alerts),
                "status": digest.status,
                "attempts": digest.attempts,
                "error": digest.error,
            }
            for digest in self.digests
        ]

    def lines(self) -> list[str]:
        """The digests as text."""
        if not self.digests:
            return [f"no digest of {self.day} is possibly_sent" if self.day else "there are no digests"]
        lines = [
            f"[{digest.route}: {digest.status}{f': {digest.error}' if digest.error else ''}] {digest.title}"
            for digest in self.digests
        ]
        if self.is_rehearsed:
            total = f"{counted(len(self.digests), 'digest')} would be sent again; nothing was sent"
        else:
            total = f"{len(self.digests) - self.unsent:,} of {counted(len(self.digests), 'digest')} sent again"
        return [*lines, total]


def resend(
    connection: duckdb.DuckDBPyConnection,
    settings: AlertSettings,
    *,
    day: date | None = None,
    route: str | None = None,
    dry_run: bool = False,
    clock: Clock,
    environment: Mapping[str, str] | None = None,
    pause_seconds: float = 1.0,
) -> Resent:
    """Send the possibly_sent digests of a day (default: the last one with digests) again, and record the outcomes.

    A digest that a killed run was sending counts as possibly_sent; call it while no other run sends. With ``dry_run``
    nothing is sent or recorded. Raises InputError for a route that neither the configuration nor a digest has.
    """
    _require_known(connection, settings, route)
    day = day or ledger.newest_day(connection)
    if not dry_run:
        recover(connection, settings, clock)
    found = [
        digest
        for digest in ledger.load(connection, statuses=(POSSIBLY_SENT, SENDING), day=day)
        if route in (None, digest.route)
    ]
    if dry_run:
        return Resent(day, found, is_rehearsed=True)
    send_each(connection, settings, found, clock=clock, environment=environment, pause_seconds=pause_seconds)
    ids = {digest.digest_id for digest in found}
    after = [digest for digest in ledger.load(connection, day=day) if digest.digest_id in ids]
    return Resent(day, after, is_rehearsed=False)


def _require_known(connection: duckdb.DuckDBPyConnection, settings: AlertSettings, route: str | None) -> None:
    if route is None:
        return
    configured = [one.label for one in (*settings.account_routes, settings.data_route)]
    known = sorted({*configured, *(digest.route for digest in ledger.load(connection))})
    if route not in known:
        message = f"--route: there is no route {route!r}; expected one of {', '.join(known)}"
        raise InputError(message)
