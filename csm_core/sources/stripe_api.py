"""Stripe's API: the first pull lists all records, later pulls read events and request open invoices again.

The first pull lists all customers, subscriptions, invoices, credit notes and prices. Later pulls read the events since
the last pull: each event contains the object at that time, and the latest version of an object is used. Stripe keeps
events for 30 days; after a longer pause all records are listed again. Events of subscriptions are stored as well: they
are the history of seats and prices. A truncated list inside a record is fetched completely.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from csm_core.errors import ConfigError, SourceError, SourceUnavailableError
from csm_core.sources.api_client import WebApi, key_of
from csm_core.sources.pull import Page, State
from csm_core.sources.settings import StripeApi
from csm_core.system.paging import Paging

SYSTEM = "stripe"
LISTS: tuple[tuple[str, dict[str, str]], ...] = (
    ("customers", {}),
    ("subscriptions", {"status": "all"}),
    ("invoices", {}),
    ("credit_notes", {}),
    # Inactive prices are included, since lines of earlier invoices name them.
    ("prices", {}),
)
OPTIONAL = "prices"
TABLES = {
    "customer": "customers",
    "subscription": "subscriptions",
    "invoice": "invoices",
    "credit_note": "credit_notes",
}
EVENT_TYPES = (
    *("customer.created", "customer.updated", "customer.deleted"),
    *(f"customer.subscription.{what}" for what in ("created", "updated", "deleted", "paused", "resumed")),
    *(f"invoice.{what}" for what in ("finalized", "paid", "payment_failed", "payment_succeeded", "updated")),
    *(f"invoice.{what}" for what in ("voided", "marked_uncollectible", "created", "deleted")),
    *(f"credit_note.{what}" for what in ("created", "updated", "voided")),
)
HISTORY = "customer.subscription."
LISTS_INSIDE = {
    "lines": lambda record: (f"/v1/invoices/{record['id']}/lines", {}),
    "items": lambda record: ("/v1/subscription_items", {"subscription": str(record["id"])}),
}
"""The address of the rest of a list inside a record, if the record does not state it."""
UNSETTLED = ("open", "draft")
KEPT_DAYS = 25
PAGE = 100
_DAY = 86_400
_CLOCKS_APART = 600
"""The number of seconds by which the local clock may be ahead of Stripe's clock without missing an event."""


def connect(settings: StripeApi) -> WebApi:
    """The API with its key. Raises ConfigError without a key or without dlt."""
    return WebApi(settings, SYSTEM, {"Authorization": f"Bearer {key_of(settings, SYSTEM)}"})


def reach(settings: StripeApi) -> str:
    """Request one customer to check the address and the key. Raises as ``WebApi.get``."""
    connect(settings).get("/v1/customers", {"limit": 1})
    return f"{settings.base_url} is reachable, the key in {settings.key_variable} is valid"


class StripeStream:
    """The stream of a pull.

    Its state: ``mode`` during a pull, ``step`` and ``after`` (the position in the lists), ``since`` (the time in
    seconds up to which changes are read), and ``open`` (the ids of invoices that were open).
    """

    def __init__(self, api: WebApi, clock: Callable[[], float] = time.time) -> None:
        self._api = api
        self._clock = clock

    def __call__(self, state: State) -> Iterator[Page]:
        """Pages of records by table; see ``csm_core.sources.pull.Stream``."""
        now = int(self._clock())
        if not state.get("mode"):
            since = state.get("since")
            whole = since is None or now - since > KEPT_DAYS * _DAY
            state.update(mode="whole" if whole else "changes", step=0, after=None, started=now, more=True)
        if state["mode"] == "whole":
            yield from self._lists(state)
            yield from self._events(state, since=state["started"] - 30 * _DAY, objects=False)
        else:
            yield from self._events(state, since=state["since"] - _CLOCKS_APART, objects=True)
        state["since"] = state["started"]
        state.update(mode=None, after=None, more=False)

    def _lists(self, state: State) -> Iterator[Page]:
        for step in range(state["step"], len(LISTS)):
            table, parameters = LISTS[step]
            if step > state["step"]:
                state.update(step=step, after=None)
            try:
                for page, after in self._pages(f"/v1/{table}", parameters, state.get("after")):
                    self._note_open(state, table, page)
                    state["after"] = after
                    yield table, page
            except ConfigError:
                # A restricted key may lack access to prices; then the interval of some earlier prices is missing.
                if table != OPTIONAL:
                    raise
        state["step"] = len(LISTS)

    def _events(self, state: State, *, since: int, objects: bool) -> Iterator[Page]:
        """The objects of events. Events are newest first, so the first one of an object counts.

        The events of a pull are one package, so that this holds across pages.
        """
        seen: set[str] = set()
        unsettled: set[str] = set()
        gathered: dict[str, list[dict[str, Any]]] = {}
        for page in self._event_pages(since):
            for event in page:
                kind, changed = event.get("type"), event.get("data", {}).get("object", {})
                if str(kind).startswith(HISTORY):
                    gathered.setdefault("events", []).append(event)
                table = TABLES.get(str(changed.get("object")))
                if not objects or table is None or kind not in EVENT_TYPES:
                    continue
                if changed.get("id") in seen or changed.get("id") in unsettled:
                    continue
                if table == "invoices" and changed.get("status") in UNSETTLED:
                    # The invoice is requested again below; its state may have changed since the event.
                    unsettled.add(changed["id"])
                    continue
                seen.add(changed["id"])
                gathered.setdefault(table, []).append(self._completed(changed))
        if objects:
            requested = unsettled.union(state.get("open", []))
            gathered.setdefault("invoices", []).extend(self._open_again(requested, seen))
            # An invoice that no longer exists was a draft: Stripe can delete only drafts.
            state["open"] = sorted(set(state.get("open", [])) & seen)
        for table, records in gathered.items():
            self._note_open(state, table, records)
            yield table, records

    def _event_pages(self, since: int) -> Iterator[list[dict[str, Any]]]:
        pages = self._pages("/v1/events", {"created[gte]": since, "types[]": list(EVENT_TYPES)}, None)
        try:
            first = next(pages)
        except SourceError:
            # An API without this filter returns all events.
            pages = self._pages("/v1/events", {"created[gte]": since}, None)
            first = next(pages)
        yield first[0]
        for page, _ in pages:
            yield page

    def _open_again(self, unsettled: set[str], seen: set[str]) -> Iterator[dict[str, Any]]:
        """Invoices that are or were open; some changes of invoices have no event."""
        remaining = unsettled - seen
        try:
            for page, _ in self._pages("/v1/invoices", {"status": "open"}, None):
                for invoice in page:
                    if invoice["id"] not in seen:
                        remaining.discard(invoice["id"])
                        seen.add(invoice["id"])
                        yield invoice
        except (SourceError, SourceUnavailableError):
            # If the API does not support the filter, each invoice is requested; an unavailable API fails there as well.
            remaining = unsettled - seen
        for name in sorted(remaining):
            invoice = self._api.get(f"/v1/invoices/{name}", may_be_missing=True)
            if invoice and not invoice.get("deleted"):
                seen.add(name)
                yield self._completed(invoice)

    def _note_open(self, state: State, table: str, records: list[dict[str, Any]]) -> None:
        if table != "invoices" or not records:
            return
        unsettled: set[str] = set(state.get("open", []))
        for invoice in records:
            if invoice.get("status") in UNSETTLED:
                unsettled.add(invoice["id"])
            else:
                unsettled.discard(invoice["id"])
        state["open"] = sorted(unsettled)

    def _pages(
        self, path: str, parameters: dict[str, Any], after: str | None
    ) -> Iterator[tuple[list[dict[str, Any]], str | None]]:
        """The pages of a list, each with the id after which the next one begins."""
        more = True
        paging = Paging(f"{SYSTEM}: {path}", SourceUnavailableError)
        while more:
            query = {**parameters, "limit": PAGE, **({"starting_after": after} if after else {})}
            # Some emulators and proxies have no credit notes and prices.
            answer = self._api.get(path, query, may_be_missing=path in ("/v1/credit_notes", f"/v1/{OPTIONAL}"))
            page = cast("list[dict[str, Any]]", answer.get("data") or [])
            more = bool(answer.get("has_more"))
            after = str(page[-1]["id"]) if page else None
            if more:
                paging.follow(after, [str(record["id"]) for record in page])
            yield [self._completed(record) for record in page], after

    def _completed(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with all of its lines and items; a list inside a record may be truncated."""
        for name, default in LISTS_INSIDE.items():
            inner = record.get(name)
            if isinstance(inner, dict) and inner.get("has_more"):
                truncated = cast("dict[str, Any]", inner)
                path, parameters = default(record)
                if truncated.get("url"):
                    path, _, query = str(truncated["url"]).partition("?")
                    # The address of items does not name the subscription in every version of the API.
                    parameters |= dict(part.split("=", 1) for part in query.split("&") if "=" in part)
                entries = [entry for page, _ in self._pages(path, parameters, None) for entry in page]
                record = {**record, name: {**truncated, "data": entries, "has_more": False}}
        return record
