"""Customer-success pages in Notion: three pure renderers, and the adapter that reads and writes the pages.

Not here: what is written (``plan``), and in which order (``apply``).
See https://developers.notion.com/reference/versioning for the API version.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

from notion_client import AsyncClient

from csm_core.errors import ConfigError, NotionError
from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion.databases import ACCOUNTS, EXPANSIONS, HEALTH_RECORDS, QBRS, DatabaseSpec
from csm_core.publishing.notion.page_blocks import PAGE_SIZE, PageBlocks
from csm_core.publishing.notion.rate_limiter import RequestBudget
from csm_core.publishing.notion.retry import Caller, Refused
from csm_core.publishing.notion.rich_text import (
    RUNS_PER_ARRAY,
    Block,
    clean,
    encoded_bytes,
    option_name,
    plain,
    requests_of,
    runs,
    text_blocks,
)
from csm_core.publishing.qbr import LABELS
from csm_core.rubric import RUBRIC
from csm_core.schemas import CSMHealthScore, ExpansionOpportunity, QBRContent, Scalar
from csm_core.system.paging import Paging

# So many pages a query lists at most: https://developers.notion.com/guides/data-apis/query-large-data-sources
QUERY_RESULTS = 10_000
RAG_EMOJI = {"GREEN": "🟢", "AMBER": "🟠", "RED": "🔴"}
RAG_COLOUR = {"GREEN": "green_background", "AMBER": "orange_background", "RED": "red_background"}
# From so many points on, what a signal lacks is worth a word.
LOST_POINTS = 1.0
RISK_TEXT = {
    "both": "the renewal is near and usage is fading",
    "contract_proximity": "the renewal is near",
    "behavioral": "usage is fading",
}


# -- renderers ---------------------------------------------------------------------------------------------------


def render_health_record_blocks(health_score: CSMHealthScore) -> list[Block]:
    """Heading, a callout in the RAG's colour, score, churn risk and where most points are lost as a paragraph, every
    signal against its weight.
    """
    rag = health_score.rag
    alert = "  Somebody should look at this account." if health_score.should_alert else ""
    churn = f"Churn risk is {health_score.churn_risk_level}"
    if health_score.churn_triggered_by:
        churn += f": {RISK_TEXT[health_score.churn_triggered_by]}"
    capped = (
        f" The points add up to {health_score.raw_score:.1f}; the technical account manager's assessment lowers it."
        if health_score.score != health_score.raw_score
        else ""
    )
    blocks = text_blocks("heading_2", "Account health")
    blocks += text_blocks(
        "callout",
        alert,
        bold=f"{rag}: {health_score.score:.1f} of 100.",
        icon={"type": "emoji", "emoji": RAG_EMOJI[rag]},
        color=RAG_COLOUR[rag],
    )
    blocks += text_blocks(
        "paragraph", f"The health score is {health_score.score:.1f} of 100.{capped} {churn}.{_lost(health_score)}"
    )
    blocks += text_blocks("heading_3", "Points by signal")
    for signal in RUBRIC:
        given = health_score.signal_breakdown[signal.name]
        blocks += _item(_words(signal.name), f"{round(given, 1):g} of {signal.weight}")
    return blocks


def render_qbr_blocks(qbr: QBRContent) -> list[Block]:
    """Four sections, each a narrative and then a list of its metrics or items, or a plain sentence for none."""
    blocks = text_blocks("heading_1", "Account Health Summary")
    blocks += text_blocks("paragraph", qbr.health_summary or "Nothing is known of the account's health in this period.")
    if qbr.health_rag:
        blocks += _item("Health at the end of the period", f"{RAG_EMOJI[qbr.health_rag]} {qbr.health_rag}")
    blocks += text_blocks("heading_2", "ROI & Business Impact")
    blocks += _section(
        "What the account used in this period, against the period before.",
        [(name, _shown(value)) for name, value in qbr.roi_metrics.items()],
        "No figures are known for this period.",
    )
    blocks += text_blocks("heading_2", "Feature Adoption Scorecard")
    scorecard = [(feature, _detail(value)) for feature, value in qbr.feature_adoption_scorecard.items()]
    blocks += _section(
        "The features of the plan: what the account used, and how many of the customers who have them use them.",
        scorecard,
        "No features are known for this account.",
    )
    blocks += text_blocks("heading_2", "Expansion & Next Steps")
    blocks += _section(
        "What to talk about next, the most promising first.",
        [(None, step) for step in qbr.expansion_next_steps],
        "No next steps suggested.",
    )
    return blocks


def render_expansion_blocks(opportunity: ExpansionOpportunity, *, currency: str | None = None) -> list[Block]:
    """Type and confidence, evidence, ARR impact (in ``currency``, where it is known), talk track."""
    subject = f": {opportunity.subject}" if opportunity.subject else ""
    impact = opportunity.estimated_arr_impact
    blocks = text_blocks(
        "callout",
        f", confidence {opportunity.confidence}",
        bold=f"{opportunity.opportunity_type.capitalize()}{subject}",
        icon={"type": "emoji", "emoji": "🌱"},
        color="green_background",
    )
    blocks += text_blocks("heading_2", "Evidence")
    blocks += text_blocks("paragraph", opportunity.evidence)
    blocks += text_blocks("heading_2", "Estimated ARR impact")
    amount = f"{impact:,.0f} {currency or ''}".strip() if impact is not None else ""
    blocks += text_blocks("paragraph", f"{amount} per year" if amount else "It cannot be estimated.")
    blocks += text_blocks("heading_2", "Talk track")
    blocks += text_blocks("paragraph", opportunity.recommended_talk_track)
    return blocks


def _section(narrative: str, items: Sequence[tuple[str | None, str]], none: str) -> list[Block]:
    if not items:
        return text_blocks("paragraph", none)
    blocks = text_blocks("paragraph", narrative)
    for label, words in items:
        blocks += _item(label, words)
    return blocks


def _item(label: str | None, words: str) -> list[Block]:
    return text_blocks("bulleted_list_item", words if label is None else f": {words}", bold=label or "")


def _lost(health_score: CSMHealthScore) -> str:
    """Where most points are lost, up to three signals; nothing where hardly any are."""
    missing = {signal.name: signal.weight - health_score.signal_breakdown[signal.name] for signal in RUBRIC}
    most = sorted((name for name in missing if missing[name] >= LOST_POINTS), key=lambda name: -missing[name])[:3]
    if not most:
        return ""
    parts = [f"{LABELS[name]} ({missing[name]:.3g})" for name in most]
    listed = " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)
    return f" Most points are lost on {listed}."


def _detail(value: float | Mapping[str, Scalar]) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(detail)}" for name, detail in value.items())
    return f"{100 * value:.0f} %"


def _shown(value: Scalar) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if isinstance(value, float) else value


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize().replace("Nps", "NPS")


# -- the adapter -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A database's data source, and the name of its title property."""

    database_id: str
    data_source_id: str
    title: str
    only_source: bool = True

    @property
    def parent(self) -> dict[str, str]:
        """The parent of a new page: the database, or the data source where there are several."""
        if self.only_source:
            return {"type": "database_id", "database_id": self.database_id}
        return {"type": "data_source_id", "data_source_id": self.data_source_id}


class NotionCSMAdapter:
    """Reads and writes the pages of accounts, health records, business reviews and opportunities.

    With only a client the ids of the databases come from the environment (``NOTION_DATABASE_ID`` and the like).
    ``caller`` holds the request budget and the retry policy; ``clock`` dates ``CSM Last Scan``. Every method raises
    NotionError with Notion's message when a request is refused or stays unanswered, ConfigError for a missing id.
    """

    def __init__(
        self,
        notion_client: AsyncClient,
        *,
        database_ids: Mapping[str, str] | None = None,
        data_source_ids: Mapping[str, str] | None = None,
        caller: Caller | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = notion_client
        self._database_ids = os.environ if database_ids is None else database_ids
        self._chosen = os.environ if data_source_ids is None else data_source_ids
        self.caller = caller or Caller(RequestBudget(_budget_of_environment()))
        self._clock = clock
        self._sources: dict[str, Source] = {}
        self._windows: dict[str, tuple[str, ...]] = {}
        self._times: dict[str, dict[str, str]] = {}
        self._listed = QUERY_RESULTS
        self.blocks = PageBlocks(notion_client, self.caller)

    # -- accounts

    async def get_account(self, account_id: str) -> dict[str, Any]:
        """The account's page: ``id``, ``account_id``, name, score, RAG, Health Status; {} if there is none.

        Raises NotionError if there are two.
        """
        found = await self.find(ACCOUNTS, account_id)
        if len(found) > 1:
            message = f"account {account_id} has {len(found)} pages in Notion; keep one: {_ids(found)}"
            raise NotionError(message)
        return self._account(found[0]) if found else {}

    async def query_all_accounts(self) -> list[dict[str, Any]]:
        """Every page of the accounts database, in the same shape."""
        return [self._account(page) for page in await self.query_all(ACCOUNTS)]

    async def update_health_score(self, page_id: str, score: float, rag: str) -> None:
        """Write score, RAG and the time of the scan to an account's page, and nothing else."""
        await self.update_page(page_id, self.health_properties(score, rag))

    async def create_account(self, account_id: str, account_name: str, score: float, rag: str) -> str:
        """A page for an account that has none, with its score; gives the page's id."""
        properties = await self.account_properties(account_id, account_name, self.health_properties(score, rag))
        return await self.create_page(ACCOUNTS, properties, [], is_page({names.ACCOUNT_ID: account_id}))

    async def account_properties(self, account_id: str, account_name: str, health: Mapping[str, Any]) -> dict[str, Any]:
        """The properties of a new account page."""
        title = await self._titled(ACCOUNTS, account_name or account_id)
        return {**title, names.ACCOUNT_ID: _text(account_id), **health}

    def health_properties(self, score: float, rag: str) -> dict[str, Any]:
        """The three properties of an account's page that are ours."""
        return {
            names.CSM_HEALTH_SCORE: {"number": shown_score(score)},
            names.CSM_HEALTH_RAG: {"select": {"name": rag}},
            names.CSM_LAST_SCAN: {"date": {"start": self._clock().isoformat(timespec="seconds")}},
        }

    # -- health records

    async def get_health_record(self, account_id: str) -> dict[str, Any]:
        """The account's latest health record, or {}."""
        found = await self.find(HEALTH_RECORDS, account_id)
        records = [self.facts(HEALTH_RECORDS, page) for page in found]
        return max(records, key=lambda record: record[names.AS_OF_DATE] or "", default={})

    async def create_health_record(self, health_score: CSMHealthScore, as_of_date: date, account_name: str = "") -> str:
        """A page that records an account's health on a day; gives its id."""
        properties = await self.record_properties(health_score, as_of_date, account_name)
        key = {names.ACCOUNT_ID: health_score.account_id, names.AS_OF_DATE: as_of_date.isoformat()}
        return await self.create_page(
            HEALTH_RECORDS,
            properties,
            render_health_record_blocks(health_score),
            is_page(key),
        )

    async def record_properties(
        self, health_score: CSMHealthScore, as_of_date: date, account_name: str = ""
    ) -> dict[str, Any]:
        """The properties of a health record."""
        trigger = health_score.churn_triggered_by
        return {
            **await self._titled(HEALTH_RECORDS, f"{account_name or health_score.account_id} — {as_of_date}"),
            names.ACCOUNT_ID: _text(health_score.account_id),
            names.AS_OF_DATE: {"date": {"start": as_of_date.isoformat()}},
            names.SCORE: {"number": shown_score(health_score.score)},
            names.RAG: {"select": {"name": health_score.rag}},
            names.CHURN_RISK_LEVEL: {"select": {"name": health_score.churn_risk_level}},
            names.CHURN_TRIGGERED_BY: {"select": {"name": trigger} if trigger else None},
            names.SHOULD_ALERT: {"checkbox": health_score.should_alert},
        }

    # -- business reviews

    async def create_qbr_page(self, qbr: QBRContent, account_name: str = "") -> str:
        """A page with the review; gives its id."""
        key = {names.ACCOUNT_ID: qbr.account_id, names.PERIOD: qbr.period, names.TRIGGER: qbr.trigger}
        return await self.create_page(
            QBRS,
            await self.qbr_properties(qbr, account_name),
            render_qbr_blocks(qbr),
            is_page(key),
        )

    async def qbr_properties(self, qbr: QBRContent, account_name: str = "") -> dict[str, Any]:
        """The properties of a review."""
        return {
            **await self._titled(QBRS, f"QBR: {account_name or qbr.account_id} — {qbr.period}"),
            names.ACCOUNT_ID: _text(qbr.account_id),
            names.PERIOD: _text(qbr.period),
            names.HEALTH_RAG: {"select": {"name": qbr.health_rag} if qbr.health_rag else None},
            names.TRIGGER: {"select": {"name": qbr.trigger}},
            names.GENERATED_AT: {"date": {"start": qbr.generated_at.isoformat()}},
        }

    # -- expansion

    async def create_expansion_record(self, opportunity: ExpansionOpportunity, account_name: str = "") -> str:
        """A page for the opportunity; gives its id."""
        key = {
            names.ACCOUNT_ID: opportunity.account_id,
            names.OPPORTUNITY_TYPE: opportunity.opportunity_type,
            names.SUBJECT: opportunity.subject,
        }
        return await self.create_page(
            EXPANSIONS,
            await self.expansion_properties(opportunity, account_name),
            render_expansion_blocks(opportunity),
            is_page(key),
        )

    async def expansion_properties(self, opportunity: ExpansionOpportunity, account_name: str = "") -> dict[str, Any]:
        """The properties of an opportunity."""
        subject = f" {opportunity.subject}" if opportunity.subject else ""
        title = f"{account_name or opportunity.account_id}: {opportunity.opportunity_type}{subject}"
        return {
            **await self._titled(EXPANSIONS, title),
            names.ACCOUNT_ID: _text(opportunity.account_id),
            names.OPPORTUNITY_TYPE: {"select": {"name": option_name(opportunity.opportunity_type)}},
            names.SUBJECT: _text(opportunity.subject),
            names.CONFIDENCE: {"select": {"name": option_name(opportunity.confidence)}},
            names.ESTIMATED_ARR_IMPACT: {"number": _amount(opportunity.estimated_arr_impact)},
        }

    # -- pages of any database

    async def source(self, spec: DatabaseSpec) -> Source:
        """The database's data source, resolved once: one is taken, of several the one that a setting chooses."""
        if spec.setting not in self._sources:
            self._sources[spec.setting] = await self._resolve(spec)
        return self._sources[spec.setting]

    def remember(self, spec: DatabaseSpec, source: Source, windows: Sequence[str] = ()) -> None:
        """Take a data source as resolved by an earlier run, and the times that part it into windows."""
        self._sources[spec.setting] = source
        self._windows[spec.setting] = tuple(windows)

    def windows(self, spec: DatabaseSpec) -> tuple[str, ...]:
        """The creation times that part a database into queries each of which can be listed; none if one lists all.

        Of all pages that were read or created here, so that a read after a large first publication knows them.
        """
        known = self._windows.get(spec.setting, ())
        found = windows_of(list(self._times.get(spec.setting, {}).values()), self._listed)
        return found if len(found) > len(known) else known

    def database_id(self, spec: DatabaseSpec) -> str:
        """The configured id. Raises ConfigError naming the setting where there is none."""
        found = self._database_ids.get(spec.setting, "")
        if not found:
            message = f"{spec.setting} is not set: the id of the database {spec.title!r}. `csm notion init` makes one."
            raise ConfigError(message)
        return found

    def chosen_source(self, spec: DatabaseSpec) -> str:
        """The data source that the settings choose; empty where they do not."""
        return self._chosen.get(spec.data_source_setting, "")

    async def find(self, spec: DatabaseSpec, account_id: str) -> list[dict[str, Any]]:
        """The database's pages of an account; what a select holds is for the caller to compare."""
        # The service's idea of equal may be wider than ours.
        wanted = clean(account_id).text
        condition = {"property": names.ACCOUNT_ID, "rich_text": {"equals": wanted}}
        found = await self.query_all(spec, condition)
        return [page for page in found if _value(page["properties"].get(names.ACCOUNT_ID)) == wanted]

    async def query_all(self, spec: DatabaseSpec, condition: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Every page that meets the condition, none twice, however many there are.

        A query that reports itself incomplete is continued from the creation time it got to, of which the pages are
        read again. A read of all pages that needed that learns windows of creation time, for the next one to read each
        page once; wherever these lie, together they are all of time.
        """
        source = await self.source(spec)
        found: dict[str, dict[str, Any]] = {}
        times = self.windows(spec) if condition is None else ()
        listed = 0
        for start, end in pairwise((None, *times, None)):
            listed = max(listed, await self._read_window(spec, source, condition, (start, end), found))
        if condition is None:
            self._times[spec.setting] = {key: str(page["created_time"]) for key, page in found.items()}
        if listed and condition is None:
            self._listed = min(self._listed, listed)
            self._windows[spec.setting] = windows_of(list(self._times[spec.setting].values()), listed)
        return list(found.values())

    async def _read_window(
        self,
        spec: DatabaseSpec,
        source: Source,
        condition: Mapping[str, Any] | None,
        window: tuple[str | None, str | None],
        found: dict[str, dict[str, Any]],
    ) -> int:
        """Add the pages created in a window; how many one query listed of it, 0 if that was all of them."""
        since, end = window
        most = 0
        while True:
            known = len(found)
            bounds = (condition, _created("on_or_after", since), _created("before", end))
            complete, last, listed = await self._query(source, _all_of(*bounds), found)
            if complete:
                return most
            most = max(most, listed)
            if last is None or (last == since and len(found) == known):
                message = f"{spec.title}: more pages were created in one minute ({since}) than a query can list"
                raise NotionError(message)
            since = last

    async def _query(
        self, source: Source, condition: Mapping[str, Any] | None, found: dict[str, dict[str, Any]]
    ) -> tuple[bool, str | None, int]:
        """Add what a query lists; whether that is all, the creation time it got to, how many pages it listed."""
        body: dict[str, Any] = {
            "page_size": PAGE_SIZE,
            "sorts": [{"timestamp": "created_time", "direction": "ascending"}],
            **({"filter": condition} if condition else {}),
        }
        last: str | None = None
        listed = 0
        complete = True
        paging = Paging(f"the query of Notion's data source {source.data_source_id}", NotionError)
        while True:
            answer = await self.caller.repeat(
                lambda: self._client.data_sources.query(source.data_source_id, **body)  # pyright: ignore[reportReturnType]
            )
            for page in answer["results"]:
                found[page["id"]] = page
                last = page["created_time"]
            listed += len(answer["results"])
            # Any of its answers may say that the query is cut off; what it lists all the same is in the others.
            complete = complete and answer.get("request_status", {}).get("type") != "incomplete"
            if not answer.get("has_more"):
                return complete, last, listed
            paging.follow(answer.get("next_cursor"), [page["id"] for page in answer["results"]])
            body["start_cursor"] = answer["next_cursor"]

    async def create_page(
        self,
        spec: DatabaseSpec,
        properties: Mapping[str, Any],
        blocks: Sequence[Block],
        is_it: Callable[[dict[str, Any]], bool],
    ) -> str:
        """Create a page and give its id. ``is_it`` tells from its facts whether a page is the one wanted."""
        return str((await self.new_page(spec, properties, blocks, is_it))["id"])

    async def new_page(
        self,
        spec: DatabaseSpec,
        properties: Mapping[str, Any],
        blocks: Sequence[Block],
        is_it: Callable[[dict[str, Any]], bool],
        on_begun: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Create a page, at most 100 blocks to a request; the page as it was answered, at least its ``id``.

        ``on_begun`` is called with the page when it is there and blocks are still to be appended.
        """
        source = await self.source(spec)
        account_id = plain(properties[names.ACCOUNT_ID]["rich_text"])
        first = next(requests_of(blocks, encoded_bytes(properties)), [])

        async def look() -> dict[str, Any] | None:
            pages = [page for page in await self.find(spec, account_id) if is_it(self.facts(spec, page))]
            return pages[0] if pages else None

        page = await self.caller.write_once(
            lambda: self._client.pages.create(  # pyright: ignore[reportArgumentType]
                parent=source.parent, properties=properties, children=first
            ),
            look,
            lambda body: {"id": body["committed_resource_id"]} if body.get("committed_resource_id") else None,
        )
        if page.get("created_time"):
            self._times.setdefault(spec.setting, {})[str(page["id"])] = str(page["created_time"])
        if on_begun and len(first) < len(blocks):
            on_begun(page)
        await self.blocks.append_rest(str(page["id"]), blocks, len(first))
        return page

    async def update_page(self, page_id: str, properties: Mapping[str, Any]) -> None:
        """Write properties; sending it twice does no harm."""
        await self.caller.repeat(
            lambda: self._client.pages.update(page_id, properties=dict(properties))  # pyright: ignore[reportReturnType]
        )

    async def is_gone(self, page_id: str) -> bool:
        """Whether a page is in the trash, or is not there any more."""
        try:
            page = await self.caller.repeat(
                lambda: self._client.pages.retrieve(page_id)  # pyright: ignore[reportReturnType]
            )
        except Refused as refused:
            if refused.status == 404:
                return True
            raise
        return bool(page.get("in_trash") or page.get("archived"))

    def facts(self, spec: DatabaseSpec, page: Mapping[str, Any]) -> dict[str, Any]:
        """A page as plain values by property name, with ``id``, ``name`` and ``url``; properties not there are None."""
        properties = page["properties"]
        found: dict[str, Any] = {"id": page["id"], "url": page.get("url"), "name": ""}
        for value in properties.values():
            if value.get("type") == "title":
                found["name"] = plain(value["title"])
        for wanted in spec.properties:
            if wanted.type != "title":
                found[wanted.name] = _value(properties.get(wanted.name))
        return found

    # -- within

    def _account(self, page: Mapping[str, Any]) -> dict[str, Any]:
        facts = self.facts(ACCOUNTS, page)
        return {
            "id": facts["id"],
            "account_id": facts[names.ACCOUNT_ID],
            "name": facts["name"],
            "csm_health_score": facts[names.CSM_HEALTH_SCORE],
            "csm_health_rag": facts[names.CSM_HEALTH_RAG],
            "health_status": facts[names.HEALTH_STATUS],
            "url": facts["url"],
        }

    async def _titled(self, spec: DatabaseSpec, title: str) -> dict[str, Any]:
        # A title has no further block to go on in; beyond 100 runs there is no room for it.
        return {(await self.source(spec)).title: {"title": runs(title)[:RUNS_PER_ARRAY]}}

    async def _resolve(self, spec: DatabaseSpec) -> Source:
        database_id = self.database_id(spec)
        database = await self.caller.repeat(
            lambda: self._client.databases.retrieve(database_id)  # pyright: ignore[reportReturnType]
        )
        sources = database.get("data_sources") or []
        chosen = self.chosen_source(spec)
        matching = [one["id"] for one in sources if not chosen or same_id(one["id"], chosen)]
        if len(matching) != 1:
            listed = "; ".join(f"{one['id']} ({one.get('name') or 'unnamed'})" for one in sources) or "none"
            message = (
                f"{spec.title}: the database of {spec.setting} has {len(sources)} data sources: {listed}. "
                f"Choose one with {spec.data_source_setting}."
            )
            raise ConfigError(message)
        described = await self.caller.repeat(
            lambda: self._client.data_sources.retrieve(matching[0])  # pyright: ignore[reportReturnType]
        )
        titles = [name for name, value in described["properties"].items() if value["type"] == "title"]
        return Source(database_id, matching[0], titles[0], len(sources) == 1)


def is_page(key: Mapping[str, str]) -> Callable[[dict[str, Any]], bool]:
    """Tells from a page's facts whether it has these values, as Notion keeps them: without control characters."""
    wanted = {name: clean(value).text for name, value in key.items()}
    return lambda facts: all((facts[name] or "") == value for name, value in wanted.items())


def shown_score(score: float) -> float:
    """A score as people read it, to the hundredth; the warehouse keeps all of it."""
    return round(score, 2)


def _amount(amount: float | None) -> float | None:
    return None if amount is None else round(amount, 2)


def _text(value: str) -> dict[str, Any]:
    return {"rich_text": runs(value)}


def _value(given: Mapping[str, Any] | None) -> Any:
    if given is None:
        return None
    kind = given["type"]
    value = given.get(kind)
    if kind == "rich_text":
        return plain(value or [])
    if kind in ("select", "status"):
        return value["name"] if value else None
    if kind == "date":
        return value["start"] if value else None
    return value


def _all_of(*conditions: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    given = [condition for condition in conditions if condition]
    return given[0] if len(given) == 1 else {"and": given} if given else None


def _created(when: str, time: str | None) -> Mapping[str, Any] | None:
    return {"timestamp": "created_time", "created_time": {when: time}} if time else None


def windows_of(times: Sequence[str], most: int) -> tuple[str, ...]:
    """The creation times at which to part pages created at ``times`` so that no part has more than ``most`` of them.

    A minute is never parted: one that has more is a part of its own.
    """
    ordered = sorted(times)
    found: list[str] = []
    start = 0
    while len(ordered) - start > most:
        beginning = bisect_left(ordered, ordered[start + most])
        start = beginning if beginning > start else bisect_right(ordered, ordered[start])
        if start < len(ordered):
            found.append(ordered[start])
    return tuple(found)


def _ids(pages: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(page["id"]) for page in pages)


def same_id(one: str, other: str) -> bool:
    """Whether two ids are the same, with or without hyphens."""
    return one.replace("-", "").lower() == other.replace("-", "").lower()


def _budget_of_environment() -> int:
    from csm_core.publishing.notion.settings import NotionSettings

    return NotionSettings.of(os.environ).requests_per_minute
