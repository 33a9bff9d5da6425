"""The statements that create the ledger of records in HubSpot and Salesforce, for ``migrations``, and descriptions."""

CRM_TABLES = """
create table if not exists sync.crm_records (
    destination varchar not null, account_id varchar not null, state varchar not null, content_hash varchar not null,
    sent_values varchar not null, record_id varchar, message varchar, as_of_date date not null,
    changed_at timestamp not null
);
create table if not exists sync.crm_runs (
    run_id varchar not null, destination varchar not null, as_of_date date not null, started_at timestamp not null,
    ended_at timestamp, status varchar not null, created bigint not null, updated bigint not null,
    skipped bigint not null, absent bigint not null, rejected bigint not null, failed bigint not null,
    requests bigint not null
);
create table if not exists sync.crm_changes (
    run_id varchar not null, destination varchar not null, account_id varchar not null, action varchar not null,
    record_id varchar, message varchar, changed_at timestamp not null
)
"""

CRM_DESCRIPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "sync.crm_records": (
        "One row per account whose values were sent to a record of HubSpot or Salesforce",
        {
            "destination": "The name of the destination, as in csm crm status",
            "account_id": "The account",
            "state": "written, sending or rejected; sending: it is unknown whether the values arrived",
            "content_hash": "A hash of the destination and of sent_values",
            "sent_values": "The values by field of the vendor, a JSON object",
            "record_id": "The id of the record at the vendor; null if it is unknown",
            "message": "Why the vendor rejected the values, in its words; null if it did not",
            "as_of_date": "The day that the values are from",
            "changed_at": "When this row was last written, UTC",
        },
    ),
    "sync.crm_runs": (
        "One row per publication to a destination",
        {
            "run_id": "Dagster run id, or an id of a publication by csm crm apply",
            "destination": "The name of the destination",
            "as_of_date": "The day that was published",
            "started_at": "When the publication began, UTC",
            "ended_at": "When the publication ended, UTC; null if it is running or was killed",
            "status": "running, done, stopped (before all records were sent) or interrupted",
            "created": "Records created",
            "updated": "Records updated",
            "skipped": "Accounts that needed no request",
            "absent": "Accounts without a record, which the settings do not create",
            "rejected": "Records that the vendor rejected",
            "failed": "Records that could not be sent; the next publication sends them",
            "requests": "Requests sent to the vendor",
        },
    ),
    "sync.crm_changes": (
        "One row per record that a publication created, updated, or could not write",
        {
            "run_id": "The publication, as in sync.crm_runs",
            "destination": "The name of the destination",
            "account_id": "The account",
            "action": "created, updated, rejected or failed",
            "record_id": "The id of the record at the vendor; null if it is unknown",
            "message": "Why the record was not written; null if it was",
            "changed_at": "When the outcome was recorded, UTC",
        },
    ),
}
