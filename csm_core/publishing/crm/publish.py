"""The entry point of publishing to HubSpot and Salesforce for assets and the command line."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping

import duckdb

from csm_core.config import Config
from csm_core.errors import ConfigError, InputError
from csm_core.publishing.crm.apply import CrmReport, OnProgress, apply_plan
from csm_core.publishing.crm.hubspot import HubSpot
from csm_core.publishing.crm.ledger import CrmLedger
from csm_core.publishing.crm.plan import CrmPlan, make_plan
from csm_core.publishing.crm.salesforce import Salesforce
from csm_core.publishing.crm.targets import Configured, load_targets
from csm_core.publishing.crm.upserts import Vendor
from csm_core.publishing.crm.vendor_api import Sleep
from csm_core.system.crm_section import HubSpotDestination, destination_address, destination_name
from csm_core.system.secrets import secret, variable


def destinations_of(config: Config, name: str | None = None) -> list[Configured]:
    """The destinations of a configuration, or the one with a name. Raises InputError if there is none."""
    if not config.publish:
        message = "no destination is configured; add one to the section publish (docs/crm.md)"
        raise InputError(message)
    found = [one for one in config.publish if name in (None, destination_name(one))]
    if not found:
        known = ", ".join(destination_name(one) for one in config.publish)
        message = f"there is no destination {name!r}; the destinations are: {known}"
        raise InputError(message)
    return found


def open_vendor(
    destination: Configured, environment: Mapping[str, str] | None = None, *, sleep: Sleep = time.sleep
) -> Vendor:
    """The client of a destination. Raises ConfigError if a variable is not set or not valid. Sends no request."""
    if isinstance(destination, HubSpotDestination):
        token = secret(destination.token_variable, "the access token of a private app of HubSpot", environment)
        return HubSpot(destination, token, sleep)
    base_url = destination.base_url
    if base_url is None:
        described = "the address of the org, such as https://example.my.salesforce.com"
        try:
            base_url = destination_address(variable(destination.url_variable, described, environment))
        except ValueError as error:
            message = f"{destination.url_variable}: {error}"
            raise ConfigError(message) from None
    client_id = variable(destination.client_id_variable, "the consumer key of an app of Salesforce", environment)
    client_secret = secret(destination.client_secret_variable, "the consumer secret of that app", environment)
    return Salesforce(destination, base_url, client_id, client_secret, sleep)


def plan_destination(
    connection: duckdb.DuckDBPyConnection, destination: Configured, *, retry_rejected: bool = False
) -> CrmPlan:
    """The plan for publishing the newest complete day. Sends no request. Raises InputError without such a day."""
    ledger = CrmLedger(connection, destination_name(destination))
    return make_plan(
        destination, load_targets(connection, destination), ledger.records(), retry_rejected=retry_rejected
    )


def publish_destination(
    connection: duckdb.DuckDBPyConnection,
    destination: Configured,
    *,
    environment: Mapping[str, str] | None = None,
    run_id: str | None = None,
    retry_rejected: bool = False,
    on_progress: OnProgress | None = None,
    sleep: Sleep = time.sleep,
) -> CrmReport:
    """Plan and apply the newest complete day.

    The report lists rejected and failed records. Raises InputError without a complete day, and ConfigError if a
    variable is missing or the vendor denies access.
    """
    plan = plan_destination(connection, destination, retry_rejected=retry_rejected)
    vendor = open_vendor(destination, os.environ if environment is None else environment, sleep=sleep)
    with vendor.api:
        return apply_plan(
            plan,
            destination,
            vendor,
            CrmLedger(connection, destination_name(destination)),
            run_id=run_id or uuid.uuid4().hex,
            on_progress=on_progress,
        )
