"""The adapter: reads and writes the pages of accounts, health records, business reviews and opportunities.

A target page (``target_pages``) defines the content of a page; publishing a day uses the same two methods, ``create``
and ``update``. See https://developers.notion.com/reference/versioning for the API version.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from notion_client import AsyncClient

from csm_core.errors import NotionError
from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion.database_reader import DatabaseReader, page_facts
from csm_core.publishing.notion.databases import ACCOUNTS, HEALTH_RECORDS, DatabaseSpec
from csm_core.publishing.notion.page_blocks import PageBlocks
from csm_core.publishing.notion.page_templates import PageTemplate
from csm_core.publishing.notion.rate_limiter import RateLimiter
from csm_core.publishing.notion.retry import Caller, RequestRejected
from csm_core.publishing.notion.rich_text import RUNS_PER_ARRAY, Block, encoded_bytes, requests_of, runs
from csm_core.publishing.notion.scan_sentence import described_day, scan_sentence, with_sentence
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.target_pages import (
    TargetPage,
    account_page,
    health_properties,
    key_of_facts,
    opportunity_page,
    record_page,
    review_page,
)
from csm_core.publishing.notion.users import read_users
from csm_core.schemas import CSMHealthScore, ExpansionOpportunity, QBRContent


class NotionCSMAdapter:
    """Reads and writes the pages of accounts, health records, business reviews and opportunities.

    If only a client is passed, the database ids come from the environment (``NOTION_DATABASE_ID`` and so on).
    ``caller`` applies the rate limit and the retry policy; ``clock`` sets ``CSM Last Scan``; ``switched_off`` are the
    switches of properties that are not written. Every method raises
    NotionError with Notion's message if a request is rejected or gets no answer, and ConfigError for a missing id.
    """

    def __init__(
        self,
        notion_client: AsyncClient,
        *,
        database_ids: Mapping[str, str] | None = None,
        data_source_ids: Mapping[str, str] | None = None,
        caller: Caller | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        switched_off: Collection[str] = (),
    ) -> None:
        self._client = notion_client
        self.caller = caller or Caller(RateLimiter(NotionSettings.of(os.environ).requests_per_minute))
        self._clock = clock
        self.reader = DatabaseReader(
            notion_client,
            self.caller,
            os.environ if database_ids is None else database_ids,
            os.environ if data_source_ids is None else data_source_ids,
            switched_off,
        )
        # The ids of the users by e-mail address in lower case; None if the users cannot be read.
        self.users: Mapping[str, str] | None = None
        self.blocks = PageBlocks(notion_client, self.caller)
        # The templates that new pages start from, by kind.
        self.templates: dict[str, PageTemplate] = {}

    # -- accounts

    async def get_account(self, account_id: str) -> dict[str, Any]:
        """The account's page: ``id``, ``account_id``, name, score, RAG and Health Status; {} if it has no page.

        Raises NotionError if it has several pages.
        """
        pages = await self.reader.find(ACCOUNTS, account_id)
        if len(pages) > 1:
            ids = ", ".join(str(page["id"]) for page in pages)
            message = f"account {account_id} has {len(pages)} pages in Notion; keep one: {ids}"
            raise NotionError(message)
        return _account(pages[0]) if pages else {}

    async def query_all_accounts(self) -> list[dict[str, Any]]:
        """All pages of the accounts database, in the format of ``get_account``."""
        return [_account(page) for page in await self.reader.query_all(ACCOUNTS)]

    async def update_health_score(self, page_id: str, score: float, rag: str) -> None:
        """Write the score, RAG and scan time to an account's page. Other properties do not change."""
        await self._patch(page_id, await self._properties(ACCOUNTS, {"properties": health_properties(score, rag)}))

    async def create_account(self, account_id: str, account_name: str, score: float, rag: str) -> str:
        """Create a page for an account that has none; returns the page id."""
        return await self._created_id(account_page(account_id, account_name, score, rag, self._clock().date()))

    # -- health records, business reviews, opportunities

    async def get_health_record(self, account_id: str) -> dict[str, Any]:
        """The account's latest health record, or {} if it has none."""
        pages = await self.reader.find(HEALTH_RECORDS, account_id)
        records = [page_facts(HEALTH_RECORDS, page) for page in pages]
        return max(records, key=lambda record: record[names.AS_OF_DATE] or "", default={})

    async def create_health_record(self, health_score: CSMHealthScore, as_of_date: date, account_name: str = "") -> str:
        """Create a page that records an account's health on a day; returns the page id."""
        return await self._created_id(record_page(health_score, account_name, as_of_date))

    async def create_qbr_page(self, qbr: QBRContent, account_name: str = "") -> str:
        """Create a page for the review; returns the page id."""
        return await self._created_id(review_page(qbr, account_name, qbr.generated_at))

    async def create_expansion_record(self, opportunity: ExpansionOpportunity, account_name: str = "") -> str:
        """Create a page for the opportunity; returns the page id."""
        return await self._created_id(opportunity_page(opportunity, account_name, self._clock().date()))

    # -- target pages

    async def create(
        self,
        target: TargetPage,
        on_begun: Callable[[dict[str, Any]], None] | None = None,
        *,
        account_page_id: str = "",
    ) -> dict[str, Any]:
        """Create a page, at most 100 blocks per request; returns the page from Notion's answer, at least its ``id``.

        ``on_begun`` is called with the page if it exists but more blocks must be appended. ``account_page_id`` is the
        page of the account, to which the new page is related if its database has the relation.
        """
        initial = target.limited_to(self.reader.present_now(target.spec)).initial
        properties = await self._properties(target.spec, initial, target.content, {"properties": target.along})
        return await self._with_relation(
            target.spec, account_page_id, lambda relation: self._create(target, {**properties, **relation}, on_begun)
        )

    async def update(
        self,
        target: TargetPage,
        page_id: str,
        marks: Sequence[str] | None,
        *,
        account_page_id: str = "",
        reset: bool = False,
    ) -> None:
        """Write a page's content; idempotent. ``marks`` are the marks of our blocks on the page, None if unknown.

        With ``reset``, properties that users own get their initial values again.
        """
        initial = [target.limited_to(self.reader.present_now(target.spec)).initial] if reset else []
        properties = await self._properties(target.spec, *initial, target.content, {"properties": target.along})
        await self._with_relation(
            target.spec, account_page_id, lambda relation: self._patch(page_id, {**properties, **relation})
        )
        template = self.templates.get(target.kind)
        if template and marks is None:
            source = await self.reader.source(target.spec)
            await template.complete(page_id, target.blocks, source.data_source_id)
        elif target.blocks:
            await self.blocks.revise(page_id, target.blocks, marks)

    async def is_gone(self, page_id: str) -> bool:
        """Whether a page is in the trash or no longer exists."""
        try:
            page = await self.caller.repeat(
                lambda: self._client.pages.retrieve(page_id)  # pyright: ignore[reportReturnType]
            )
        except RequestRejected as rejected:
            if rejected.status == 404:
                return True
            raise
        return bool(page.get("in_trash"))

    async def read_users(self) -> dict[str, str]:
        """The ids of the people of the workspace by e-mail address in lower case."""
        return await read_users(self._client, self.caller)

    async def describe_accounts(self, day: date) -> None:
        """State in the description of the accounts database that its scores are those of ``day``."""
        database_id = self.reader.database_id(ACCOUNTS)
        database = await self.caller.repeat(
            lambda: self._client.databases.retrieve(database_id)  # pyright: ignore[reportReturnType]
        )
        description = database.get("description") or []
        if described_day(description) != day:
            changed = with_sentence(description, scan_sentence(day, self._clock()))
            await self.caller.repeat(
                lambda: self._client.databases.update(database_id, description=changed)  # pyright: ignore[reportReturnType]
            )

    # -- internal

    async def _created_id(self, target: TargetPage) -> str:
        return str((await self.create(target))["id"])

    async def _create(
        self, target: TargetPage, properties: Mapping[str, Any], on_begun: Callable[[dict[str, Any]], None] | None
    ) -> dict[str, Any]:
        spec, blocks = target.spec, target.blocks
        source = await self.reader.source(spec)
        template = self.templates.get(target.kind)
        begin: dict[str, Any] = {"parent": source.parent, "properties": properties}
        first: list[Block] = []
        if template:
            # Notion accepts no blocks together with a template.
            begin |= await template.beginning(source.data_source_id)
        else:
            first = next(requests_of(blocks, encoded_bytes(properties)), [])
            begin["children"] = first

        async def find_created() -> dict[str, Any] | None:
            for page in await self.reader.find(spec, target.account_id):
                if key_of_facts(target.kind, page_facts(spec, page)) == target.key:
                    return page
            return None

        page = await self.caller.write_once(
            lambda: self._client.pages.create(**begin),  # pyright: ignore[reportArgumentType]
            find_created,
            lambda body: {"id": body["committed_resource_id"]} if body.get("committed_resource_id") else None,
        )
        self.reader.note_created(spec, page)
        if on_begun and len(first) < len(blocks):
            on_begun(page)
        if template:
            await template.append(str(page["id"]), blocks)
        else:
            await self.blocks.append_rest(str(page["id"]), blocks, len(first))
        return page

    async def _patch(self, page_id: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        return await self.caller.repeat(
            lambda: self._client.pages.update(page_id, properties=properties)  # pyright: ignore[reportReturnType]
        )

    async def _with_relation(
        self,
        spec: DatabaseSpec,
        account_page_id: str,
        write: Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]],
    ) -> dict[str, Any]:
        """Write a page with the relation to its account's page, or without it if Notion rejects that page."""
        if not account_page_id or names.ACCOUNT not in self.reader.present_now(spec):
            return await write({})
        try:
            return await write({names.ACCOUNT: {"relation": [{"id": account_page_id}]}})
        except RequestRejected as rejected:
            # For example, the account's page was deleted after it was read.
            if account_page_id.replace("-", "") not in str(rejected).replace("-", ""):
                raise
            return await write({})

    async def _properties(self, spec: DatabaseSpec, *parts: Mapping[str, Any]) -> dict[str, Any]:
        """The properties to send: the properties of all parts, the title under its property name, and the scan time."""
        properties: dict[str, Any] = {}
        for part in parts:
            if "title" in part:
                # Notion limits a title to 100 runs; longer titles are truncated.
                properties[(await self.reader.source(spec)).title] = {"title": runs(part["title"])[:RUNS_PER_ARRAY]}
            properties |= self._with_people(part.get("properties", {}))
        if spec is ACCOUNTS:
            properties[names.CSM_LAST_SCAN] = {"date": {"start": self._clock().isoformat(timespec="seconds")}}
        return properties

    def _with_people(self, properties: Mapping[str, Any]) -> dict[str, Any]:
        """The properties with the ids of users in place of e-mail addresses, without people that cannot be known."""
        resolved: dict[str, Any] = {}
        for name, value in properties.items():
            if "people" not in value:
                resolved[name] = value
            elif self.users is not None:
                ids = [self.users[one["email"]] for one in value["people"] if one["email"] in self.users]
                resolved[name] = {"people": [{"object": "user", "id": user_id} for user_id in ids]}
        return resolved


def _account(page: Mapping[str, Any]) -> dict[str, Any]:
    facts = page_facts(ACCOUNTS, page)
    return {
        "id": facts["id"],
        "account_id": facts[names.ACCOUNT_ID],
        "name": facts["name"],
        "csm_health_score": facts[names.CSM_HEALTH_SCORE],
        "csm_health_rag": facts[names.CSM_HEALTH_RAG],
        "health_status": facts[names.HEALTH_STATUS],
        "url": facts["url"],
    }
