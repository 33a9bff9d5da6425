"""Addresses: one check for all of them, and no message that shows a password."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_core.errors import ConfigError, CSMError, InputError
from csm_core.operations.alerts import post
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.workspace import new_client
from csm_core.sources.postgres_database import _parts_of as postgres_parts
from csm_core.sources.settings import PostgresSettings, StripeApi
from csm_core.system.addresses import checked_address, checked_port

PASSWORD = "hunter2secret"
BAD = [
    "http://[::1",
    "http://127.0.0.1:abc",
    "http://127.0.0.1:99999",
    "http://127.0.0.1:0",
    "http://127.0.0.1:-1",
    "http://127.0.0.1:",
    "http://xn--/",
    "http://a\x01b",
    "http://host/é",
    "http://",
    "http:///path",
    "http:host",
    "https//host",
    "host",
    "file:///etc/passwd",
    "http://a b",
    "http://a..b",
    f"http://{'a' * 64}.com",
    "http://[zz::1]/",
    f"htp://user:{PASSWORD}@host",
    f"http://user:{PASSWORD}@host:99999",
    f"http://user:{PASSWORD}@",
    f"http://@{PASSWORD}@host:x",
]
GOOD = ["http://127.0.0.1:8756", "https://api.notion.com", "http://localhost", "http://[::1]:80/x", "https://a.b-c.d/"]


@pytest.mark.parametrize("address", BAD)
def test_what_is_no_address_is_an_error_of_the_input_without_the_password(address):
    with pytest.raises(ConfigError, match="NOTION_BASE_URL") as notion:
        NotionSettings.of({"NOTION_TOKEN": "ntn_x", "NOTION_BASE_URL": address})
    with pytest.raises(InputError, match="CSM_ALERT_WEBHOOK") as webhook:
        post({}, address)
    with pytest.raises(ValueError, match="base_url") as base:
        StripeApi.model_validate({"base_url": address})
    assert PASSWORD not in str(notion.value) + str(webhook.value)
    assert PASSWORD not in base.value.errors()[0]["msg"]


@pytest.mark.parametrize("address", GOOD)
def test_addresses_pass(address):
    assert checked_address(f" {address} ") == address
    assert NotionSettings.of({"NOTION_BASE_URL": address}).base_url == address.rstrip("/")


@given(st.one_of(st.text(), st.text().map(lambda text: f"http://{text}"), st.from_regex(r"https?://[^/]{1,20}(/.*)?")))
def test_what_passes_can_be_used_by_the_client(text):
    try:
        settings = NotionSettings.of({"NOTION_TOKEN": "ntn_x", "NOTION_BASE_URL": text})
    except CSMError:
        return
    client = new_client(settings)
    assert client.options.base_url == settings.base_url
    asyncio.run(client.aclose())


@pytest.mark.parametrize("port", ["99999", "0", "-1", "text", "", "1.5", "65536", "٣"])
def test_ports(port):
    with pytest.raises(ValueError, match="expected a number from 1 to 65535"):
        checked_port(port)


@pytest.mark.parametrize(
    "dsn",
    [f"postgresql://u:{PASSWORD}@h:{port}/d" for port in ("99999", "0", "-1", "x")]
    + [
        f"postgresql://u:{PASSWORD}@a..b/d",
        f"host='a b' password={PASSWORD}",
        f"host=h,h port=1,70000 password={PASSWORD}",
    ],
)
def test_addresses_of_databases(dsn):
    pytest.importorskip("psycopg")
    settings = PostgresSettings.model_validate({"system": "postgres", "queries": {"accounts": {"sql": "select 1"}}})
    with pytest.raises(ConfigError, match="CSM_POSTGRES_DSN") as rejected:
        postgres_parts(dsn, settings)
    assert PASSWORD not in str(rejected.value)
