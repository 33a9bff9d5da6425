"""The four Notion databases: title, property names and types, and the options that selects start with.

Publishing, ``csm notion init`` and ``csm notion doctor`` share these declarations. The values of the properties are
defined in ``target_pages``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from csm_core.publishing.opportunity_status import OPEN

ACCOUNTS_SETTING = "NOTION_DATABASE_ID"
HEALTH_SETTING = "NOTION_CSM_HEALTH_DATABASE_ID"
QBR_SETTING = "NOTION_CSM_QBR_DATABASE_ID"
EXPANSION_SETTING = "NOTION_CSM_EXPANSION_DATABASE_ID"

# Property names. Only `csm notion init` uses the name of the title property; other code finds it by its type.
ACCOUNT_ID = "account_id"

CSM_HEALTH_SCORE = "CSM Health Score"
CSM_HEALTH_RAG = "CSM Health RAG"
CSM_LAST_SCAN = "CSM Last Scan"
HEALTH_STATUS = "Health Status"
CSM_OWNER = "CSM Owner"
CSM_OWNER_NAME = "CSM Owner Name"
CSM_SEGMENT = "CSM Segment"
CSM_PLAN = "CSM Plan"
CSM_MRR = "CSM MRR"
CSM_CURRENCY = "CSM Currency"
CSM_RENEWAL = "CSM Renewal"
CSM_CHURN_RISK = "CSM Churn Risk"
CSM_REASON = "CSM Reason"
CSM_NEXT_STEP = "CSM Next Step"
CSM_LAST_CHANGE = "CSM Last Change"
CSM_RECEIPT = "CSM Receipt"
CSM_ROOT = "CSM Root"
CSM_PULSE = "CSM Pulse"
CSM_PULSE_NOTE = "CSM Pulse Note"

# The relation of health records, reviews and opportunities to the account page.
ACCOUNT = "Account"

AS_OF_DATE = "as_of_date"
SCORE = "score"
RAG = "rag"
CHURN_RISK_LEVEL = "churn_risk_level"
CHURN_TRIGGERED_BY = "churn_triggered_by"
SHOULD_ALERT = "should_alert"

PERIOD = "period"
HEALTH_RAG = "health_rag"
TRIGGER = "trigger"
GENERATED_AT = "generated_at"

OPPORTUNITY_TYPE = "opportunity_type"
SUBJECT = "subject"
CONFIDENCE = "confidence"
ESTIMATED_ARR_IMPACT = "estimated_arr_impact"
CSM_STATUS = "CSM Status"

_RAG_OPTIONS = (("GREEN", "green"), ("AMBER", "orange"), ("RED", "red"))
_RISK_OPTIONS = (("low", "green"), ("medium", "yellow"), ("high", "orange"), ("critical", "red"))


@dataclass(frozen=True)
class Property:
    """A property: Notion's type, and the initial options (name, colour) of a select.

    ``switch`` is the setting under ``notion.account_properties`` that switches the property off. Publishing also works
    without a property that has a switch. ``synced_name`` is the name of the other side of a relation to accounts.
    """

    name: str
    type: str
    options: tuple[tuple[str, str], ...] = ()
    switch: str = ""
    synced_name: str = ""

    def config(self, accounts_source: str = "") -> dict[str, Any]:
        """The API's definition of this property; a relation needs the data source of the accounts."""
        if self.type == "select":
            return {"select": {"options": [{"name": name, "color": color} for name, color in self.options]}}
        if self.type == "relation":
            synced = {"synced_property_name": self.synced_name}
            dual = {"type": "dual_property", "dual_property": synced}
            return {"relation": {"data_source_id": accounts_source, **dual}}
        return {self.type: {}}


@dataclass(frozen=True)
class DatabaseSpec:
    """A database: the setting that holds its id, its title and emoji, and its properties, title property first."""

    setting: str
    title: str
    emoji: str
    description: str
    properties: tuple[Property, ...] = field(default=())

    @property
    def data_source_setting(self) -> str:
        """The setting that selects one of several data sources: the database setting with DATA_SOURCE for DATABASE."""
        return self.setting.replace("DATABASE_ID", "DATA_SOURCE_ID")

    @property
    def title_property(self) -> Property:
        """The property that is the page's title."""
        return next(item for item in self.properties if item.type == "title")

    def wanted(self, switched_off: Collection[str] = ()) -> tuple[Property, ...]:
        """The properties that are not switched off."""
        return tuple(item for item in self.properties if not item.switch or item.switch not in switched_off)

    def schema(self, switched_off: Collection[str] = ()) -> dict[str, Any]:
        """The ``properties`` of a new data source in the API's format, without relations."""
        return {item.name: item.config() for item in self.wanted(switched_off) if item.type != "relation"}

    def present(self, types: Mapping[str, str], switched_off: Collection[str] = ()) -> frozenset[str]:
        """The properties that have a switch, are not switched off, and are in a data source with these ``types``."""
        wanted = self.wanted(switched_off)
        return frozenset(item.name for item in wanted if item.switch and types.get(item.name) == item.type)


def _relation(synced_name: str) -> Property:
    return Property(ACCOUNT, "relation", switch="relations", synced_name=synced_name)


ACCOUNTS = DatabaseSpec(
    ACCOUNTS_SETTING,
    "Customer accounts",
    "🏢",
    "One page for each customer account, with its newest health score.",
    (
        Property("Account", "title"),
        Property(ACCOUNT_ID, "rich_text"),
        Property(CSM_HEALTH_SCORE, "number"),
        Property(CSM_HEALTH_RAG, "select", _RAG_OPTIONS),
        Property(CSM_LAST_SCAN, "date"),
        Property(HEALTH_STATUS, "select", _RAG_OPTIONS),
        Property(CSM_CHURN_RISK, "select", _RISK_OPTIONS, switch="churn_risk"),
        Property(CSM_REASON, "rich_text", switch="reason"),
        Property(CSM_NEXT_STEP, "rich_text", switch="next_step"),
        Property(CSM_LAST_CHANGE, "rich_text", switch="last_change"),
        Property(CSM_RECEIPT, "rich_text", switch="receipt"),
        Property(CSM_ROOT, "rich_text", switch="receipt"),
        Property(CSM_OWNER, "people", switch="owner"),
        Property(CSM_OWNER_NAME, "rich_text", switch="owner"),
        Property(CSM_SEGMENT, "select", switch="segment"),
        Property(CSM_PLAN, "select", switch="plan"),
        Property(CSM_MRR, "number", switch="mrr"),
        Property(CSM_CURRENCY, "select", switch="mrr"),
        Property(CSM_RENEWAL, "date", switch="renewal"),
        Property(CSM_PULSE, "number", switch="pulse"),
        Property(CSM_PULSE_NOTE, "rich_text", switch="pulse"),
    ),
)

HEALTH_RECORDS = DatabaseSpec(
    HEALTH_SETTING,
    "CSM health records",
    "🩺",
    "One page for each settled change of an account's RAG band or churn risk, and for each large move of its score.",
    (
        Property("Record", "title"),
        Property(ACCOUNT_ID, "rich_text"),
        Property(AS_OF_DATE, "date"),
        Property(SCORE, "number"),
        Property(RAG, "select", _RAG_OPTIONS),
        Property(CHURN_RISK_LEVEL, "select", _RISK_OPTIONS),
        Property(
            CHURN_TRIGGERED_BY,
            "select",
            (("both", "red"), ("contract_proximity", "orange"), ("behavioral", "purple")),
        ),
        Property(SHOULD_ALERT, "checkbox"),
        _relation("CSM Health Records"),
    ),
)

QBRS = DatabaseSpec(
    QBR_SETTING,
    "CSM business reviews",
    "📊",
    "One page for each quarterly review and each review before a renewal.",
    (
        Property("Review", "title"),
        Property(ACCOUNT_ID, "rich_text"),
        Property(PERIOD, "rich_text"),
        Property(HEALTH_RAG, "select", _RAG_OPTIONS),
        Property(TRIGGER, "select", (("quarterly", "blue"), ("contract_proximity", "orange"))),
        Property(GENERATED_AT, "date"),
        _relation("CSM Business Reviews"),
    ),
)

EXPANSIONS = DatabaseSpec(
    EXPANSION_SETTING,
    "CSM expansion opportunities",
    "🌱",
    "One page for each open expansion opportunity.",
    (
        Property("Opportunity", "title"),
        Property(ACCOUNT_ID, "rich_text"),
        Property(OPPORTUNITY_TYPE, "select", (("seats", "blue"), ("module", "purple"), ("integration", "pink"))),
        Property(SUBJECT, "rich_text"),
        Property(CONFIDENCE, "select", (("low", "gray"), ("medium", "yellow"), ("high", "green"))),
        Property(ESTIMATED_ARR_IMPACT, "number"),
        Property(
            CSM_STATUS,
            "select",
            ((OPEN, "blue"), ("won", "green"), ("lost", "gray"), ("not now", "yellow")),
            "opportunity_status",
        ),
        _relation("CSM Opportunities"),
    ),
)

DATABASES: tuple[DatabaseSpec, ...] = (ACCOUNTS, HEALTH_RECORDS, QBRS, EXPANSIONS)
BY_SETTING: dict[str, DatabaseSpec] = {spec.setting: spec for spec in DATABASES}

# The kinds of published pages, and the database of each kind.
HEALTH, RECORD, QBR, EXPANSION = "health", "record", "qbr", "expansion"
KINDS = (HEALTH, RECORD, QBR, EXPANSION)
# The portfolio page and the pages of internal notes are not in a database.
PORTFOLIO, NOTES = "portfolio", "notes"
# The ledger also has the views that were created, and the images of scores.
VIEW, CHART = "view", "chart"
SPECS: dict[str, DatabaseSpec] = {HEALTH: ACCOUNTS, RECORD: HEALTH_RECORDS, QBR: QBRS, EXPANSION: EXPANSIONS}


def same_id(one: str, other: str) -> bool:
    """Whether two ids are the same, with or without hyphens."""
    return one.replace("-", "").lower() == other.replace("-", "").lower()
