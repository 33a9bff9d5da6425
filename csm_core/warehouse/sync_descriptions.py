"""The descriptions of the tables of the schema ``sync`` and of their columns, stored as comments."""

from __future__ import annotations

SYNC_TABLES = {
    "notion_pages": "One row per page that was published to Notion",
    "notion_changes": "One row per page that a publication created, updated, failed to write or found in the trash",
    "notion_runs": "One row per publication",
}
SYNC_COLUMNS = {
    "notion_pages": {
        "kind": "health, record, qbr or expansion",
        "key": "The natural key, a JSON array that begins with the account_id",
        "setting": "The setting that holds the id of the database",
        "page_id": "The id of the page in Notion",
        "url": "The address of the page",
        "content_hash": "A hash of what was written",
        "state": "written, partial or trashed",
        "marks": "Hashes of the blocks that were written, a JSON array",
        "facts": "Values of the page that later runs compare, a JSON object",
        "updated_at": "When this row was last written, UTC",
    },
    "notion_changes": {
        "run_id": "The publication, as in sync.notion_runs",
        "changed_at": "When the page was written, UTC",
        "kind": "health, record, qbr or expansion",
        "key": "The natural key, a JSON array that begins with the account_id",
        "action": "created, updated, failed or trashed",
        "page_id": "The id of the page in Notion; null if it was not created",
        "error": "Why the page could not be written; null if it was",
    },
    "notion_runs": {
        "run_id": "Dagster run id, or an id of a publication by csm notion apply",
        "as_of_date": "The day that was published",
        "started_at": "When the publication began, UTC",
        "ended_at": "When the publication ended, UTC; started_at if it is running or was killed",
        "status": "running, done or interrupted",
        "created": "Pages created",
        "updated": "Pages updated",
        "skipped": "Pages that needed no change",
        "orphans": "Pages without a row in the marts",
        "trashed": "Pages in the trash, which are not created again",
        "failed": "Pages that could not be written",
        "requests": "Requests sent to Notion",
    },
}

OPPORTUNITY_STATUS_COMMENTS = """;
comment on table sync.opportunity_statuses is
    'One row per change of the status of an expansion opportunity, by a user or a reopening';
comment on column sync.opportunity_statuses.change_id is 'The order of the changes';
comment on column sync.opportunity_statuses.account_id is 'The account, as in Notion';
comment on column sync.opportunity_statuses.opportunity_type is 'seats, module or integration';
comment on column sync.opportunity_statuses.subject is 'The module or feature; empty for seats';
comment on column sync.opportunity_statuses.status is
    'open, won, lost, not now, or another option that users added in Notion';
comment on column sync.opportunity_statuses.since is 'The published day on which the status was first read'
"""
