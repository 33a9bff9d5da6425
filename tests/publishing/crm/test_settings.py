"""The section ``publish``: what it accepts, and what an error says."""

from __future__ import annotations

from pathlib import Path

import pytest

from csm_core.config import Config, load_config
from csm_core.errors import ConfigError
from csm_core.publishing.crm.publish import destinations_of, open_vendor
from csm_core.system.crm_section import destination_name
from csm_core.system.environment import prefixed_environment

HUBSPOT = "to: hubspot, key: csm_account_id, fields: {csm_health_score: score}"
SALESFORCE = "to: salesforce, key: CSM_Account_Id__c, fields: {CSM_Score__c: score}"


def load(folder: Path, *entries: str) -> Config:
    file = folder / "csm.yaml"
    file.write_text(f"publish: [{', '.join(f'{{{one}}}' for one in entries)}]\n", encoding="utf-8")
    return load_config(file, {})


def test_the_defaults(tmp_path: Path) -> None:
    hubspot, salesforce = load(tmp_path, HUBSPOT, SALESFORCE).publish
    assert [destination_name(one) for one in (hubspot, salesforce)] == ["hubspot_companies", "salesforce_account"]
    assert (hubspot.nulls, hubspot.churned, hubspot.missing) == ("keep", "keep", "create")
    assert hubspot.base_url == "https://api.hubapi.com"
    assert salesforce.base_url is None
    assert Config().publish == ()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([f"{HUBSPOT}, nuls: keep"], ["unknown key 'publish.0.nuls'", "did you mean 'nulls'?"]),
        (["to: hubsport, key: k, fields: {a: score}"], ["publish.0.to", "'hubsport'", "did you mean 'hubspot'?"]),
        (["key: k, fields: {a: score}"], ["publish.0", "`to` is missing", "hubspot, salesforce"]),
        (["to: hubspot, key: k, fields: {}"], ["publish.0.fields"]),
        (["to: hubspot, fields: {a: score}"], ["publish.0.key", "required"]),
        (["to: hubspot, key: k, fields: {a: scor}"], ["fields.a", "no column 'scor'", "did you mean 'score'"]),
        (["to: hubspot, key: k, fields: {a: 'score; drop table x'}"], ["has no column"]),
        (["to: hubspot, key: k, fields: {'a b': score}"], ["publish.0.fields", "'a b'", "csm_health_score"]),
        (["to: hubspot, key: 'k/../x', fields: {a: score}"], ["publish.0.key", "'k/../x'"]),
        (['to: salesforce, key: "Id\' OR", fields: {A__c: score}'], ["publish.0.key"]),
        (["to: salesforce, key: K__c, fields: {Owner.Name: score}"], ["publish.0.fields", "'Owner.Name'"]),
        (["to: hubspot, object: 'companies/1', key: k, fields: {a: score}"], ["publish.0.object"]),
        (["to: hubspot, key: k, fields: {K: score}"], ["publish.0", "K is the key", "Remove it"]),
        (["to: hubspot, key: k, fields: {a: score, A: rag}"], ["different capitals"]),
        ([HUBSPOT, HUBSPOT], ["two destinations are called 'hubspot_companies'", "`name`"]),
        ([HUBSPOT, f"name: more, {HUBSPOT}"], ["hubspot_companies and more both write csm_health_score"]),
        ([f"{HUBSPOT}, base_url: 'http://api.example.com'"], ["publish.0.base_url", "use https://"]),
        ([f"{HUBSPOT}, base_url: 'https://u:pa55word@example.com'"], ["publish.0.base_url", "user name"]),
        ([f"{SALESFORCE}, base_url: 'https://example.com/?token=x'"], ["publish.0.base_url", "query"]),
        ([f"{SALESFORCE}, api_version: '66'"], ["publish.0.api_version"]),
        ([f"{HUBSPOT}, timeout_seconds: 0"], ["publish.0.timeout_seconds"]),
        ([f"{HUBSPOT}, churned: delete"], ["publish.0.churned", "'delete'"]),
    ],
)
def test_errors_name_the_key_and_what_is_allowed(tmp_path: Path, entries: list[str], said: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, *entries)
    assert [part for part in said if part not in str(error.value)] == []
    assert "pa55word" not in str(error.value)


def test_a_token_in_the_place_of_its_variable_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, f"{HUBSPOT}, token_variable: pat-na1-4711")
    assert "publish.0.token_variable" in str(error.value)
    assert "4711" not in str(error.value)


def test_several_destinations_of_a_vendor_have_names(tmp_path: Path) -> None:
    config = load(tmp_path, HUBSPOT, f"name: bands, {HUBSPOT.replace('csm_health_score: score', 'csm_band: rag')}")
    assert [destination_name(one) for one in config.publish] == ["hubspot_companies", "bands"]
    assert [destination_name(one) for one in destinations_of(config, "bands")] == ["bands"]


def test_an_address_in_a_variable_is_checked(tmp_path: Path) -> None:
    (destination,) = load(tmp_path, SALESFORCE).publish
    environment = {"SALESFORCE_CLIENT_ID": "id", "SALESFORCE_CLIENT_SECRET": "very-secret"}
    with pytest.raises(ConfigError, match=r"SALESFORCE_URL: .* use https://"):
        open_vendor(destination, environment | {"SALESFORCE_URL": "http://example.my.salesforce.com"})
    opened = open_vendor(destination, environment | {"SALESFORCE_URL": "https://example.my.salesforce.com/"})
    assert opened.api.base_url == "https://example.my.salesforce.com"


def test_no_instance_writes_with_the_token_of_another() -> None:
    environment = {"HUBSPOT_WRITE_TOKEN": "one", "SALESFORCE_URL": "two", "ACME_HUBSPOT_WRITE_TOKEN": "three"}
    assert prefixed_environment("ACME_", environment)["HUBSPOT_WRITE_TOKEN"] == "three"
    assert "SALESFORCE_URL" not in prefixed_environment("ACME_", environment)
    assert "HUBSPOT_WRITE_TOKEN" not in prefixed_environment("OTHER_", environment)
