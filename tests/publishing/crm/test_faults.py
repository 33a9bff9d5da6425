"""What vendors do wrong: after a fault and another run, every record is right, and a further run writes nothing."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pytest

from csm_core.errors import ConfigError
from csm_core.publishing.crm import hubspot, salesforce
from csm_core.publishing.crm.publish import publish_destination
from csm_core.publishing.crm.vendor_api import ATTEMPTS, LONGEST_WAIT_SECONDS
from tests.publishing.crm.destination import (
    COLUMNS,
    ENVIRONMENT,
    FIELDS,
    destination_of,
    field,
    marts,
    publish,
    row,
    scores,
    vendor_server,
)
from tests.publishing.crm.vendors import (
    CLIENT_SECRET,
    FAULTS,
    OTHERS,
    TOKEN,
    CrmServer,
    HubSpotServer,
    SalesforceServer,
    spared,
)
from tests.web_server import Answer, Asked, refuse, serving

ACCOUNTS = [f"A{number:03}" for number in range(7)]
LIMITS = {
    "hubspot": Answer({"message": "You have reached your daily limit.", "policyName": "DAILY"}, 429),
    "salesforce": Answer([{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}], 403),
}
WANTED = {key: 40.0 + number for number, key in enumerate(ACCOUNTS)}


def prepare(warehouse: duckdb.DuckDBPyConnection, server: CrmServer) -> None:
    """Seven accounts, three of which have records with fields of their own."""
    marts(warehouse, {key: row(score) for key, score in WANTED.items()})
    server.add(*ACCOUNTS[:3])


def require_settled(warehouse: duckdb.DuckDBPyConnection, server: CrmServer, **more: Any) -> None:
    """Every record is right, no field of others has changed, the ledger agrees, and another run sends nothing."""
    assert scores(server) == WANTED
    for key in ACCOUNTS[:3]:
        assert {name: server.records[key][name] for name in OTHERS} == OTHERS
    assert all(OTHERS.keys().isdisjoint(server.records[key]) for key in ACCOUNTS[3:])
    assert len(set(server.ids.values())) == len(server.records) == len(ACCOUNTS)
    states = warehouse.execute("select state, count(*), count(distinct account_id) from sync.crm_records group by all")
    assert states.fetchall() == [("written", 7, 7)]
    asked = len(server.asked)
    report = publish(warehouse, destination_of(server, **more))
    assert (report.is_complete, report.requests, dict(report.skipped)) == (True, 0, {"unchanged": 7})
    assert len(server.asked) == asked
    stored = str(warehouse.execute("from sync.crm_records, sync.crm_runs, sync.crm_changes").fetchall())
    assert not any(secret in stored for secret in (TOKEN, CLIENT_SECRET, "very-secret-session"))


def _timeout(fault: str) -> float:
    return 0.3 if fault in ("timeout", "endless response") else 10


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("times", [1, ATTEMPTS], ids=["once", "all attempts"])
def test_a_fault_loses_nothing_and_duplicates_nothing(
    warehouse: duckdb.DuckDBPyConnection, server: CrmServer, fault: str, times: int
) -> None:
    prepare(warehouse, server)
    destination = destination_of(server, timeout_seconds=_timeout(fault))
    server.failures += [spared(server, FAULTS[fault](server))] * times
    waits: list[float] = []
    first = publish(warehouse, destination, waits)
    assert first.is_complete == (times == 1 and "redirect" not in fault)
    if "redirect" in fault:
        assert "redirects" in first.stopped
        assert first.left == 7
    elif times > 1:
        assert len(first.failed) == 7
        assert all("attempts" in str(one.message) for one in first.failed)
    assert all(wait <= LONGEST_WAIT_SECONDS for wait in waits)
    if fault == "429 with Retry-After":
        assert set(waits) == {7.0}
    server.failures.clear()
    second = publish(warehouse, destination_of(server))
    assert second.is_complete
    assert dict(second.skipped) == ({"unchanged": 7} if first.is_complete else {})
    require_settled(warehouse, server)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_session_loses_nothing(warehouse: duckdb.DuckDBPyConnection, fault: str) -> None:
    with vendor_server("salesforce") as server:
        prepare(warehouse, server)
        server.failures += [FAULTS[fault](server)] * ATTEMPTS
        destination = destination_of(server, timeout_seconds=_timeout(fault))
        assert not publish(warehouse, destination).is_complete
        assert server.writes == 0
        server.failures[:] = [FAULTS[fault](server)]
        publish(warehouse, destination)
        assert publish(warehouse, destination_of(server)).is_complete
        require_settled(warehouse, server)


def test_a_wait_of_hours_is_a_minute(warehouse: duckdb.DuckDBPyConnection, server: CrmServer) -> None:
    prepare(warehouse, server)
    server.failures += [refuse(429, Retry_After="86400"), refuse(503, Retry_After="nan"), refuse(503, Retry_After="-3")]
    waits: list[float] = []
    assert publish(warehouse, destination_of(server), waits).is_complete
    assert waits == [60.0, 2.0, 0.0]
    require_settled(warehouse, server)


def test_a_rejected_record_has_the_vendors_message_and_the_others_are_written(
    warehouse: duckdb.DuckDBPyConnection, server: CrmServer
) -> None:
    prepare(warehouse, server)
    server.refused = {ACCOUNTS[1]: "Owner 77 is 'inactive'", ACCOUNTS[5]: "Flow: [=cmd] failed"}
    destination = destination_of(server)
    first = publish(warehouse, destination)
    assert {one.account_id for one in first.rejected} == server.refused.keys()
    messages = warehouse.execute(
        "select account_id, message from sync.crm_records where state = 'rejected' order by all"
    ).fetchall()
    assert [(key, said.removeprefix("FIELD_INTEGRITY_EXCEPTION: ")) for key, said in messages] == sorted(
        server.refused.items()
    )
    changes = "select account_id, message from sync.crm_changes where action = 'rejected' order by all"
    assert warehouse.execute(changes).fetchall() == messages
    assert {key: score for key, score in scores(server).items() if key not in server.refused} == {
        key: score for key, score in WANTED.items() if key not in server.refused
    }

    writes = server.writes
    second = publish(warehouse, destination)
    assert second.is_complete
    assert dict(second.skipped) == {"rejected before": 2, "unchanged": 5}
    assert server.writes == writes

    server.refused = {ACCOUNTS[5]: "Flow: [=cmd] failed"}
    third = publish(warehouse, destination, retry_rejected=True)
    assert (third.updated, len(third.rejected)) == (1, 1)
    # Other values are sent without being asked.
    server.refused.clear()
    changed = WANTED | {ACCOUNTS[5]: 12.5}
    marts(warehouse, {key: row(score) for key, score in changed.items()})
    assert publish(warehouse, destination).created == 1
    assert scores(server) == changed


def test_a_batch_that_is_rejected_as_a_whole_is_divided(warehouse: duckdb.DuckDBPyConnection) -> None:
    kinds = {name: COLUMNS[column] for name, column in FIELDS["hubspot"].items()}
    keys = [f"A{number:03}" for number in range(150)]
    with serving(HubSpotServer(kinds, multi_status=False)) as server:
        marts(warehouse, {key: row(50.0) for key in keys})
        server.refused = {"A017": "one", "A018": "two", "A149": "three"}
        report = publish(warehouse, destination_of(server))
        assert {one.account_id: one.message for one in report.rejected} == server.refused
        assert scores(server).keys() == set(keys) - server.refused.keys()
        assert report.requests < 60


def test_a_wrong_mapping_stops_after_one_batch(
    warehouse: duckdb.DuckDBPyConnection, server: CrmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubspot.HubSpot, "batch_size", 20)
    monkeypatch.setattr(salesforce.Salesforce, "batch_size", 20)
    marts(warehouse, {f"A{number:03}": row(50.0) for number in range(90)})
    del server.fields[field(server, "rag")]
    report = publish(warehouse, destination_of(server))
    assert "rejected with the same message" in report.stopped
    assert field(server, "rag") in report.stopped
    assert report.left == 70
    assert server.records == {}
    states = warehouse.execute("select distinct state, message from sync.crm_records").fetchall()
    assert [state for state, _ in states] == ["rejected"]
    assert field(server, "rag") in states[0][1]
    # When the field exists, no option is needed.
    server.fields[field(server, "rag")] = "text"
    assert publish(warehouse, destination_of(server)).created == 90


def test_a_daily_limit_stops_and_the_next_run_sends_the_rest(
    warehouse: duckdb.DuckDBPyConnection, server: CrmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(warehouse, server)
    monkeypatch.setattr(hubspot.HubSpot, "batch_size", 3)
    monkeypatch.setattr(salesforce.Salesforce, "batch_size", 3)
    destination = destination_of(server)
    respond = server.respond
    calls: list[str] = []

    def limit_second(asked: Asked) -> Answer:
        if not asked.path.endswith("token"):
            calls.append(asked.path)
            if len(calls) == 2:
                return LIMITS[server.vendor]
        return respond(asked)

    server.respond = limit_second  # type: ignore[method-assign]
    first = publish(warehouse, destination)
    assert "limit" in first.stopped
    assert (first.left, len(server.records)) == (4, 3)
    status = warehouse.execute("select status, created + updated from sync.crm_runs").fetchall()
    assert status == [("stopped", 3)]
    assert publish(warehouse, destination).is_complete
    require_settled(warehouse, server)


def test_a_response_without_one_of_the_records_is_repeated(
    warehouse: duckdb.DuckDBPyConnection, server: CrmServer
) -> None:
    prepare(warehouse, server)
    server.left_out = {ACCOUNTS[4]}
    assert publish(warehouse, destination_of(server)).is_complete
    assert server.writes == 2
    require_settled(warehouse, server)


@pytest.mark.parametrize("body", [{}, [], {"results": [{}, 7]}, [{"success": True}], 7, {"errors": "none"}], ids=str)
def test_a_response_without_results_loses_nothing(
    warehouse: duckdb.DuckDBPyConnection, server: CrmServer, body: Any
) -> None:
    prepare(warehouse, server)
    text = json.dumps(body).encode()
    server.failures += [spared(server, refuse(200, text))] * ATTEMPTS
    first = publish(warehouse, destination_of(server))
    assert {one.account_id for one in first.failed} == set(ACCOUNTS)
    assert publish(warehouse, destination_of(server)).is_complete
    require_settled(warehouse, server)


def test_a_rejection_keeps_the_id_of_the_record(warehouse: duckdb.DuckDBPyConnection, server: CrmServer) -> None:
    prepare(warehouse, server)
    publish(warehouse, destination_of(server))
    before = warehouse.execute("select account_id, record_id from sync.crm_records order by all").fetchall()
    assert all(record_id for _, record_id in before)
    marts(warehouse, {key: row(score + 1) for key, score in WANTED.items()})
    server.refused = {ACCOUNTS[0]: "no"}
    publish(warehouse, destination_of(server))
    after = warehouse.execute("select account_id, record_id from sync.crm_records order by all").fetchall()
    assert after == before


def test_a_rejected_token_is_an_error_of_the_settings(warehouse: duckdb.DuckDBPyConnection) -> None:

    with vendor_server("hubspot") as server:
        prepare(warehouse, server)
        server.failures.append(refuse(401, {"message": f"The token {TOKEN} expired"}))
        with pytest.raises(ConfigError) as error:
            publish(warehouse, destination_of(server))
        assert "HUBSPOT_WRITE_TOKEN" in str(error.value)
        assert TOKEN not in str(error.value)
        assert "(hidden) expired" in str(error.value)
        assert warehouse.execute("select status from sync.crm_runs").fetchall() == [("interrupted",)]
        assert publish(warehouse, destination_of(server)).is_complete
        require_settled(warehouse, server)


def test_missing_permission_names_the_object(warehouse: duckdb.DuckDBPyConnection, server: CrmServer) -> None:
    prepare(warehouse, server)
    body = {
        "hubspot": {"message": "requires scopes [crm.objects.companies.write]"},
        "salesforce": [{"errorCode": "FORBIDDEN", "message": "no access"}],
    }[server.vendor]
    respond = server.respond
    server.respond = lambda asked: (  # type: ignore[method-assign]
        respond(asked) if asked.path.endswith("token") else Answer(body, 403)
    )
    with pytest.raises(ConfigError, match=r"companies|Account"):
        publish(warehouse, destination_of(server))


def test_an_expired_session_is_opened_again(warehouse: duckdb.DuckDBPyConnection) -> None:

    with vendor_server("salesforce") as server:
        assert isinstance(server, SalesforceServer)
        prepare(warehouse, server)
        respond = server.respond

        def expire(asked: Asked) -> Answer:
            answer = respond(asked)
            if asked.path.endswith("token") and server.session == 1:
                server.session = 2
            return answer

        server.respond = expire  # type: ignore[method-assign]
        report = publish(warehouse, destination_of(server))
        assert report.is_complete
        assert [one.path.rsplit("/", 1)[1] for one in server.asked].count("token") == 2
        require_settled(warehouse, server)


def test_wrong_consumer_keys_are_an_error_of_the_settings(warehouse: duckdb.DuckDBPyConnection) -> None:

    with vendor_server("salesforce") as server:
        prepare(warehouse, server)

        environment = ENVIRONMENT | {"SALESFORCE_CLIENT_SECRET": "another-very-secret-secret"}
        with pytest.raises(ConfigError) as error:
            publish_destination(warehouse, destination_of(server), environment=environment)
        assert "SALESFORCE_CLIENT_SECRET: invalid client credentials" in str(error.value)
        assert "another-very-secret-secret" not in str(error.value)


def test_a_locked_row_is_repeated(warehouse: duckdb.DuckDBPyConnection) -> None:

    with vendor_server("salesforce") as server:
        assert isinstance(server, SalesforceServer)
        prepare(warehouse, server)
        server.locked = {ACCOUNTS[2]: 2, ACCOUNTS[3]: ATTEMPTS}
        first = publish(warehouse, destination_of(server))
        assert [one.account_id for one in first.failed] == [ACCOUNTS[3]]
        assert "UNABLE_TO_LOCK_ROW" in str(first.failed[0].message)
        assert publish(warehouse, destination_of(server)).is_complete
        require_settled(warehouse, server)


def test_a_vendor_that_is_down_is_not_asked_for_every_batch(
    warehouse: duckdb.DuckDBPyConnection, server: CrmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(warehouse, server)
    monkeypatch.setattr(hubspot.HubSpot, "batch_size", 1)
    monkeypatch.setattr(salesforce.Salesforce, "batch_size", 1)
    server.failures += [refuse(503)] * 1000
    report = publish(warehouse, destination_of(server))
    assert report.requests == 3 * ATTEMPTS
    assert "3 batches in succession" in report.stopped
    server.failures.clear()
    assert publish(warehouse, destination_of(server)).is_complete
    require_settled(warehouse, server)


def test_nothing_is_sent_to_the_address_in_a_redirect_or_in_a_session(
    warehouse: duckdb.DuckDBPyConnection, server: CrmServer
) -> None:

    prepare(warehouse, server)
    with vendor_server("hubspot") as other:
        server.failures.append(refuse(302, {}, Location=f"{other.url}/steal"))
        report = publish(warehouse, destination_of(server))
        assert other.asked == []
    assert TOKEN not in json.dumps(report.as_dict())
    assert publish(warehouse, destination_of(server)).is_complete
    require_settled(warehouse, server)
