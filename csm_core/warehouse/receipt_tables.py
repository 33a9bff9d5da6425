"""The statements that create the tables of receipts and of erased accounts, for ``migrations``."""

RECEIPT_TABLES = """
create table if not exists run.receipt_leaves (
    tenant_id varchar not null, account_id varchar not null, as_of_date date not null, root_id bigint not null,
    leaf blob, records_hash blob, known_from timestamp, code_version varchar, rubric_hash varchar
);
create table if not exists run.receipt_rubrics (rubric_hash varchar not null, rubric varchar not null)
"""

ERASURES_TABLE = """
create table if not exists run.erasures (
    account_hash varchar not null, erased_at timestamp not null, erased_by varchar not null, counts varchar not null,
    is_complete boolean not null
)
"""

ERASED_CUSTOMERS_TABLE = """
create table if not exists run.erased_customers (
    system varchar not null, customer_hash varchar not null, account_hash varchar not null
)
"""

DESCRIPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "run.erased_customers": (
        "One row per vendor's customer, or contact of one, that belongs to an account that csm forget erased",
        {
            "system": "The source system",
            "customer_hash": "A SHA-256 of the system and the id of the customer",
            "account_hash": "The account, as in run.erasures",
        },
    ),
    "run.erasures": (
        "One row per account that csm forget erased",
        {
            "account_hash": "A SHA-256 of the id of the account",
            "erased_at": "When the erasure began, UTC",
            "erased_by": "The user who erased it",
            "counts": "The number of deleted rows by table, a JSON object",
            "is_complete": "Whether the files were rewritten; false if the erasure was interrupted",
        },
    ),
    "run.receipt_leaves": (
        "One row per account and day whose receipt changed, since the root with root_id; nothing is replaced",
        {
            "tenant_id": "The tenant",
            "account_id": "The account",
            "as_of_date": "The day",
            "root_id": "The first root that includes this receipt, as in marts.csm_day_roots",
            "leaf": "The receipt hash; null since the account is not in the day any more",
            "records_hash": "The common hash of the records that the signals read",
            "known_from": "When these values were first computed, UTC",
            "code_version": "The version of csm-health, and a hash of its SQL",
            "rubric_hash": "The hash of the rubric, as in run.receipt_rubrics",
        },
    ),
    "run.receipt_rubrics": (
        "One row per rubric that receipts refer to",
        {"rubric_hash": "The SHA-256 of the rubric", "rubric": "The rubric as canonical JSON"},
    ),
}
"""The descriptions of these tables and of their columns, stored as comments."""
