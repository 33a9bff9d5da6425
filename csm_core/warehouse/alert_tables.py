"""The statements that create the tables of alerts, for ``migrations``, and their descriptions."""

ALERT_TABLES = """
create table if not exists sync.alert_states (
    rule varchar not null, tenant_id varchar, account_id varchar not null, state varchar not null,
    severity varchar not null, since date not null, true_since date, false_since date, fired_on date, notified_on date
);
create table if not exists sync.alert_events (
    event_id bigint not null, rule varchar not null, tenant_id varchar, account_id varchar not null,
    as_of_date date not null, from_state varchar, to_state varchar not null
);
create table if not exists sync.alert_days (as_of_date date not null, evaluated_at timestamp not null);
create table if not exists sync.alert_silences (
    account_id varchar not null, until_date date not null, reason varchar not null, created_by varchar not null,
    created_at timestamp not null
);
create table if not exists sync.alert_digests (
    digest_id varchar not null, route varchar not null, owner varchar not null, as_of_date date not null,
    kind varchar not null, failed_checks varchar not null, status varchar not null, attempts integer not null,
    error varchar, intended_at timestamp not null, sent_at timestamp, ended_at timestamp
);
create table if not exists sync.alert_digest_lines (
    digest_id varchar not null, position integer not null, account_id varchar not null, account_name varchar,
    kind varchar not null, rules varchar not null, severity varchar not null, score double, rag varchar,
    change_text varchar, reason varchar, next_step varchar, link varchar
)
"""

ALERT_DESCRIPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "sync.alert_states": (
        "One row per rule and account to which the rule has applied",
        {
            "rule": "The name of the rule",
            "tenant_id": "The tenant",
            "account_id": "The account",
            "state": "pending, firing or resolved",
            "severity": "low, medium, high or critical",
            "since": "The day on which the alert entered the state",
            "true_since": "Since which evaluated day the condition is true; null if it is false",
            "false_since": "Since which evaluated day the condition is false; null if it is true",
            "fired_on": "The day on which the alert last fired; null if it never did",
            "notified_on": "The day of the digest that last had the alert; null if it is new or its end was reported",
        },
    ),
    "sync.alert_events": (
        "One row per change of the state of an alert; nothing is replaced",
        {
            "event_id": "The order of the events",
            "rule": "The name of the rule",
            "tenant_id": "The tenant",
            "account_id": "The account",
            "as_of_date": "The evaluated day",
            "from_state": "The state before; null for a new alert",
            "to_state": "The state after",
        },
    ),
    "sync.alert_days": (
        "One row per day on which the rules were evaluated",
        {"as_of_date": "The day", "evaluated_at": "When it was evaluated, UTC"},
    ),
    "sync.alert_silences": (
        "One row per silence of an account",
        {
            "account_id": "The account",
            "until_date": "The last day without messages about the account",
            "reason": "Why, in the words of the user",
            "created_by": "The user",
            "created_at": "When the silence was created, UTC",
        },
    ),
    "sync.alert_digests": (
        "One row per digest, which is about one route, owner and day",
        {
            "digest_id": "A hash of route, owner, day and kind",
            "route": "The name of the route",
            "owner": "The owner of the accounts; empty without an owner, and for data problems",
            "as_of_date": "The day",
            "kind": "accounts or data_problem",
            "failed_checks": "The failed checks of a data problem, comma-separated; else empty",
            "status": "intended, sending, sent, possibly_sent or failed",
            "attempts": "How often sending began",
            "error": "Why it was not sent; null if it was",
            "intended_at": "When the intent was recorded, UTC",
            "sent_at": "When sending last began, UTC; null if it did not",
            "ended_at": "When the outcome was recorded, UTC; null before",
        },
    ),
    "sync.alert_digest_lines": (
        "One row per account in a digest",
        {
            "digest_id": "The digest, as in sync.alert_digests",
            "position": "The order of the lines",
            "account_id": "The account",
            "account_name": "The name of the account on the day",
            "kind": "fired, reminder or resolved",
            "rules": "The rules, comma-separated",
            "severity": "The highest severity of the rules",
            "score": "The score of the day; null if the account left",
            "rag": "The band of the day; null if the account left",
            "change_text": "What changed",
            "reason": "The two signals that explain it",
            "next_step": "The suggested action",
            "link": "The page of the account in Notion; empty without one",
        },
    ),
}
