"""Stripe's API: against the emulator over HTTP, and against a server that fails as real ones do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from csm_core.errors import ConfigError, SourceError, SourceUnavailableError
from csm_core.sources import pull
from csm_core.sources.registry import get_system
from csm_core.sources.settings import StripeApi, StripeSettings
from tests.source_loads import SilentLog
from tests.sources.test_stripe import SIGNALS, write_company
from tests.web_server import Answer, Asked, WebServer, drop, refuse, serving

KEY = "sk_test_12345"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# Processes that find this on their path live so many seconds in the past.
CLOCK = """
import os, time
real = time.time
time.time = lambda: real() - float(open(os.environ["BEHIND"]).read())
"""


class Emulator:
    """localstripe as a process of its own, on a clock that can be put back; ``environment`` puts others on it, too."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._behind = folder / "behind"
        (folder / "sitecustomize.py").write_text(CLOCK)
        self.environment = {"PYTHONPATH": str(folder), "BEHIND": str(self._behind)}
        self.put_back(0)

    def put_back(self, days: int) -> None:
        self._behind.write_text(str(days * 86_400))

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        response = requests.post(f"{self.url}/v1/{path}", data=fields, auth=(KEY, ""), timeout=30)
        assert response.ok, response.text
        return response.json()

    def pay_with(self, customer: str, number: str) -> None:
        card = {"card[number]": number, "card[exp_month]": 12, "card[exp_year]": 2060, "card[cvc]": "123"}
        method = self.post("payment_methods", type="card", **card)["id"]
        self.post(f"payment_methods/{method}/attach", customer=customer)
        self.post(f"customers/{customer}", **{"invoice_settings[default_payment_method]": method})

    def subscribe(self, customer: str, seats: int) -> str:
        fields = {"items[0][plan]": "yearly", "items[0][quantity]": seats}
        return self.post("subscriptions", customer=customer, **fields)["id"]

    def pay(self, invoice: str) -> bool:
        answer = requests.post(f"{self.url}/v1/invoices/{invoice}/pay", auth=(KEY, ""), timeout=30)
        return answer.json().get("status") == "paid"


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    port = free_port()
    folder = tmp_path / "clock"
    folder.mkdir()
    made = Emulator(f"http://127.0.0.1:{port}", folder)
    with subprocess.Popen(
        [sys.executable, "-m", "localstripe", "--port", str(port), "--from-scratch"],
        env={**os.environ, **made.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            for _ in range(300):
                try:
                    requests.get(made.url, timeout=1)
                    break
                except requests.ConnectionError:
                    time.sleep(0.1)
            yield made
        finally:
            process.terminate()


@pytest.mark.slow
def test_what_is_made_in_stripe_is_pulled_changed_and_pulled_again(emulator, tmp_path, company):
    # The last day that can be run is yesterday; what is made forty days before it is looked at there.
    day = datetime.now(UTC).date() - timedelta(days=1)
    emulator.put_back(41)
    plan = {"amount": 12_000, "currency": "usd", "interval": "year", "product[name]": "yearly"}
    emulator.post("plans", id="yearly", **plan)
    one, two = (emulator.post("customers", name=f"C{n}", **{"metadata[account_id]": f"a{n}"})["id"] for n in (1, 2))
    good, declined = "4242424242424242", "4000000000000341"
    for customer, quantity in ((one, 4), (two, 2)):
        emulator.pay_with(customer, good)
        emulator.subscribe(customer, quantity)
    emulator.post("invoiceitems", customer=two, amount=500, currency="usd")
    made_by_hand = emulator.post("invoices", customer=two)
    unpaid, owed = made_by_hand["id"], made_by_hand["amount_due"] / 100
    emulator.pay_with(two, declined)
    assert not emulator.pay(unpaid)

    usage = write_company(tmp_path / "company") / "usage_events.csv"
    users = ("e1,a1,u1", "e2,a1,u2", "e3,a2,u3")
    usage.write_text(
        "event_id,account_id,user_id,event_name,feature,occurred_at\n"
        + "".join(f"{user},login,,{day}\n" for user in users)
    )
    api = {"base_url": emulator.url, "key_variable": "STRIPE_API_KEY", "attempts": 2}
    made = company(
        usage.parent,
        sources=[
            {"system": "files", "path": str(usage.parent)},
            {"system": "stripe", "api": api, "include_test_mode": True},
        ],
    )

    def pull() -> None:
        environment = {"STRIPE_API_KEY": KEY, **emulator.environment}
        done = made.csm("run", "--as-of", day.isoformat(), "--no-publish", environment=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert KEY not in done.stdout + done.stderr

    signals = SIGNALS.format(day=day)
    amounts = "select account_id, amount_due, paid_at is not null from staging.stg_invoices order by all"
    begun = day - timedelta(days=40)
    renewal = (begun.replace(year=begun.year + 1) - day).days
    emulator.put_back(3)
    pull()
    # The unpaid invoice was due on issue, forty days ago; two of four seats are used, and one of two.
    assert made.query(signals) == [("a1", "current", renewal, 0.5), ("a2", "overdue_60", renewal, 0.5)]
    assert made.query(amounts) == sorted([("a1", 480, True), ("a2", owed, False), ("a2", 240, True)])

    emulator.put_back(2)
    emulator.subscribe(one, 4)
    emulator.pay_with(two, good)
    assert emulator.pay(unpaid)
    emulator.put_back(0)
    pull()
    assert made.query(signals) == [("a1", "current", renewal, 0.25), ("a2", "current", renewal, 0.5)]
    assert made.query(
        "select seats, started_at::date from staging.stg_subscriptions where account_id = 'a1' order by all"
    ) == [
        (4, begun),
        (4, day - timedelta(days=1)),
    ]
    assert made.query(amounts) == sorted([("a1", 480, True), ("a1", 480, True), ("a2", owed, True), ("a2", 240, True)])
    before = made.query(signals) + made.query("select count(*) from staging.stg_invoices")
    pull()
    assert made.query(signals) + made.query("select count(*) from staging.stg_invoices") == before


class Stripe(WebServer):
    """Serves lists as Stripe does."""

    def __init__(self) -> None:
        super().__init__()
        self.lists: dict[str, list[dict[str, Any]]] = {}
        self.records: dict[str, dict[str, Any] | None] = {}
        self.refuse_after: str | None = None
        self.forbidden: str | None = None

    def respond(self, asked: Asked) -> Answer:
        if asked.path == self.forbidden:
            return Answer({"error": {"message": "more permissions are needed"}}, 403)
        after = asked.query.get("starting_after")
        if after is not None and after == self.refuse_after:
            return Answer({"error": {"message": f"no, {KEY}"}}, 400)
        if asked.path in self.records:
            record = self.records[asked.path]
            return Answer(record or {"error": {"code": "resource_missing"}}, 200 if record else 404)
        found = self.lists.get(asked.path, [])
        start = next((n + 1 for n, one in enumerate(found) if one["id"] == after), 0)
        end = start + int(asked.query.get("limit", "10"))
        return Answer({"object": "list", "data": found[start:end], "has_more": end < len(found)})


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stripe]:
    monkeypatch.setenv("STRIPE_API_KEY", KEY)
    with serving(Stripe()) as made:
        yield made


def settings(vendor: Stripe, **more: Any) -> StripeSettings:
    return StripeSettings(system="stripe", api=StripeApi(base_url=vendor.url, **more), include_test_mode=True)


def load(source_loads, source: StripeSettings, folder: Path) -> dict[str, int]:
    results = get_system("stripe").load(
        source_loads.connection, [source], loaded_at=source_loads.now, folder=folder / "sources", log=source_loads.log
    )
    return {result.table.removeprefix("raw.stripe__"): result.loaded for result in results if result.loaded}


def test_busy_and_dropped_answers_are_asked_for_again_as_long_as_the_api_says(vendor, source_loads, tmp_path):
    vendor.lists["/v1/customers"] = [{"id": f"cus_{n}"} for n in range(250)]
    vendor.failures = [refuse(429, Retry_After="1"), drop]
    begun = time.monotonic()
    assert load(source_loads, settings(vendor), tmp_path) == {"customers": 250}
    assert time.monotonic() - begun >= 1
    assert vendor.paths.count("/v1/customers") == 5


def test_lines_that_a_record_leaves_out_are_fetched(vendor, source_loads, tmp_path):
    lines = [{"id": f"il_{n}"} for n in range(12)]
    held = {"object": "list", "data": lines[:10], "has_more": True, "url": "/v1/invoices/in_1/lines"}
    vendor.lists["/v1/invoices"] = [{"id": "in_1", "status": "open", "lines": held}]
    vendor.lists["/v1/invoices/in_1/lines"] = lines
    assert load(source_loads, settings(vendor), tmp_path) == {"invoices": 1}
    assert source_loads.rows("select json_array_length(record, '$.lines.data') from raw.stripe__invoices") == [(12,)]


def test_items_that_a_record_leaves_out_are_fetched_wherever_the_rest_is(vendor, source_loads, tmp_path):
    items = [{"id": f"si_{n}", "quantity": 1} for n in range(120)]
    held = {"object": "list", "data": items[:10], "has_more": True}
    vendor.lists["/v1/subscriptions"] = [{"id": "sub_1", "status": "active", "items": held}]
    vendor.lists["/v1/subscription_items"] = items
    assert load(source_loads, settings(vendor), tmp_path) == {"subscriptions": 1}
    assert source_loads.rows(
        "select json_array_length(record, '$.items.data'), record ->> '$.items.has_more' from raw.stripe__subscriptions"
    ) == [(120, "false")]
    asked = [one.query for one in vendor.asked if one.path == "/v1/subscription_items"]
    assert [(query["subscription"], query.get("starting_after")) for query in asked] == [
        ("sub_1", None),
        ("sub_1", "si_99"),
    ]


def test_prices_are_listed_where_the_key_may_read_them(vendor, source_loads, tmp_path):
    vendor.lists["/v1/invoices"] = [{"id": "in_1", "status": "paid"}]
    vendor.lists["/v1/prices"] = [{"id": "price_1", "active": False}]
    assert load(source_loads, settings(vendor), tmp_path / "allowed") == {"invoices": 1, "prices": 1}
    vendor.forbidden = "/v1/prices"
    assert load(source_loads, settings(vendor), tmp_path / "not allowed") == {"invoices": 1}
    vendor.forbidden = "/v1/invoices"
    with pytest.raises(ConfigError, match="/v1/invoices"):
        load(source_loads, settings(vendor), tmp_path / "needed")


def test_a_pull_that_ends_in_the_middle_goes_on_there(vendor, source_loads, tmp_path, monkeypatch):
    monkeypatch.setattr(pull, "PAGES_PER_PACKAGE", 2)
    vendor.lists["/v1/customers"] = [{"id": f"cus_{n:03}"} for n in range(700)]
    vendor.refuse_after = "cus_499"
    with pytest.raises(SourceError, match=r"rejects the request /v1/customers \(status 400\)") as caught:
        load(source_loads, settings(vendor), tmp_path)
    assert KEY not in str(caught.value)
    vendor.refuse_after = None
    vendor.asked.clear()
    assert load(source_loads, settings(vendor), tmp_path) == {"customers": 700}
    assert vendor.asked[0].query["starting_after"] == "cus_399"
    assert source_loads.rows("select count(distinct record ->> '$.id') from raw.stripe__customers") == [(700,)]


def test_later_pulls_take_the_newest_of_the_events_and_read_open_invoices_again(vendor, source_loads, tmp_path):
    vendor.lists["/v1/invoices"] = [{"id": "in_1", "status": "open"}, {"id": "in_2", "status": "open"}]
    load(source_loads, settings(vendor), tmp_path)
    vendor.lists["/v1/events"] = [
        {"id": "e3", "type": "invoice.paid", "data": {"object": {"object": "invoice", "id": "in_1", "status": "paid"}}},
        {
            "id": "e2",
            "type": "invoice.updated",
            "data": {"object": {"object": "invoice", "id": "in_1", "status": "open"}},
        },
        {"id": "e1", "type": "charge.created", "data": {"object": {"object": "charge", "id": "ch_1"}}},
    ]
    vendor.lists["/v1/invoices"] = [{"id": "in_2", "status": "open", "amount_due": 5}]
    vendor.asked.clear()
    assert load(source_loads, settings(vendor), tmp_path) == {"invoices": 2}
    assert vendor.paths == ["/v1/events", "/v1/invoices"]
    assert vendor.asked[1].query["status"] == "open"
    newest = source_loads.rows(
        "select record ->> '$.id', arg_max(record ->> '$.status', _load_id), "
        "arg_max(record ->> '$.amount_due', _load_id) "
        "from raw.stripe__invoices group by 1 order by 1"
    )
    assert newest == [("in_1", "paid", None), ("in_2", "open", "5")]


def test_a_draft_that_was_deleted_is_forgotten(vendor, source_loads, tmp_path):
    vendor.lists["/v1/invoices"] = [{"id": "in_1", "status": "draft"}, {"id": "in_2", "status": "open"}]
    load(source_loads, settings(vendor), tmp_path)
    vendor.lists["/v1/invoices"] = [{"id": "in_2", "status": "open"}]
    vendor.records["/v1/invoices/in_1"] = None
    assert load(source_loads, settings(vendor), tmp_path) == {"invoices": 1}
    assert vendor.paths[-1] == "/v1/invoices/in_1"
    vendor.asked.clear()
    assert load(source_loads, settings(vendor), tmp_path) == {"invoices": 1}
    assert vendor.paths == ["/v1/events", "/v1/invoices"]


def test_what_is_wrong_is_told_without_the_key(vendor, monkeypatch, tmp_path):
    stripe = get_system("stripe")
    assert stripe.check(settings(vendor)) == f"{vendor.url} is reachable, the key in STRIPE_API_KEY is valid"
    vendor.failures = [refuse(401, {"error": {"message": f"Invalid API Key: {KEY}"}})]
    with pytest.raises(ConfigError, match="rejects the key in STRIPE_API_KEY") as rejected:
        stripe.check(settings(vendor))
    vendor.failures = [refuse(503, Retry_After="0")] * 2
    with pytest.raises(SourceUnavailableError, match=r"status 503 \(2 attempts\)") as failing:
        stripe.check(settings(vendor, attempts=2))
    closed = StripeSettings(system="stripe", api=StripeApi(base_url=f"http://127.0.0.1:{free_port()}", attempts=1))
    with pytest.raises(SourceUnavailableError, match="cannot be reached") as gone:
        stripe.check(closed)
    assert all(KEY not in str(one.value) for one in (rejected, failing, gone))
    monkeypatch.delenv("STRIPE_API_KEY")
    with pytest.raises(ConfigError, match="STRIPE_API_KEY is not set"):
        stripe.check(settings(vendor))


def test_without_the_library_the_error_names_the_extra(vendor, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlt", None)
    with pytest.raises(
        ConfigError, match=r"needs the extra `sources`, which is not .* Install it with `make setup-server`"
    ):
        get_system("stripe").check(settings(vendor))


def test_progress_is_told(vendor, tmp_path, monkeypatch):
    monkeypatch.setattr(pull, "_LOG_EVERY", 100)
    log = SilentLog()
    pages = iter([("customers", [{"id": str(n)} for n in range(150)])])
    assert pull.pull("stripe", "here", lambda state: pages, tmp_path, log) == 150
    assert [(event, facts["records"]) for event, facts in log.events] == [
        ("records fetched", 150),
        ("source read", 150),
    ]
