"""The tools of the MCP server: names, arguments and descriptions. Each reads the published copy and changes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import Field

from csm_core.analysts.backtest.options import BacktestOptions
from csm_core.config import Policy
from csm_core.publishing.assistant import account_tools, portfolio_tools
from csm_core.publishing.assistant.portfolio_tools import Page
from csm_core.publishing.assistant.reader import QUERY_SECONDS, Read

Call = Callable[[Read], Awaitable[CallToolResult]]
Text = Annotated[str, Field(max_length=200)]
Account = Annotated[
    str, Field(max_length=200, description="Account id, tenant/account, or the account's name or a part of it.")
]
Limit = Annotated[int, Field(ge=1, le=50, description="Number of rows.")]
Offset = Annotated[int, Field(ge=0, le=1_000_000, description="`next_offset` of the previous page.")]
Owner = Annotated[str, Field(max_length=200, description="Only the accounts of this owner (`csm_owner`).")]
Band = Literal["GREEN", "AMBER", "RED"]
Risk = Literal["low", "medium", "high", "critical"]
_READ_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


@dataclass(frozen=True)
class Tools:
    """The tools on a published copy; ``call`` runs a function on it and makes the result of the tool."""

    copy: Path
    call: Call

    def register(self, server: MCPServer[Any]) -> None:
        """Add every tool to a server."""
        for tool in (
            *(self.portfolio, self.accounts, self.account, self.explain, self.explain_change, self.what_if),
            *(self.renewals, self.alerts, self.backtest, self.sql),
        ):
            server.add_tool(tool, annotations=_READ_ONLY)

    async def portfolio(self, as_of: date | None = None) -> CallToolResult:
        """The portfolio of a day (default: the newest): accounts and MRR by band, mean score, the accounts that moved
        most, renewals of the next 60 days, MRR at risk by owner, signals without data, and held days. `renewals` and
        `at_risk` are the first ten of `renewal_count` and `owner_count`."""
        return await self.call(partial(portfolio_tools.portfolio, as_of=as_of))

    async def accounts(
        self,
        owner: Owner | None = None,
        segment: Text | None = None,
        tenant: Text | None = None,
        rag: Band | None = None,
        churn_risk_level: Risk | None = None,
        should_alert: bool | None = None,
        currency: Text | None = None,
        name_contains: Text | None = None,
        renewal_within_days: Annotated[int, Field(ge=0, le=3660)] | None = None,
        sort: Literal[
            "account_id",
            "account_name",
            "score",
            "score_change_28d",
            "mrr",
            "mrr_reporting",
            "renewal_date",
            "churn_risk_level",
        ] = "score",
        descending: bool = False,
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> CallToolResult:
        """List the customers on the newest day (`csm_overview`): filter, sort and page. Sort by `mrr` only with a
        `currency`; `mrr_reporting` is in one currency for all accounts."""
        filters = {
            "owner": owner,
            "segment": segment,
            "tenant": tenant,
            "rag": rag,
            "churn_risk_level": churn_risk_level,
            "should_alert": should_alert,
            "currency": currency,
            "name_contains": name_contains,
            "renewal_within_days": renewal_within_days,
        }
        page = Page(limit, offset, sort, descending)
        return await self.call(partial(portfolio_tools.accounts, filters=filters, page=page))

    async def account(self, account: Account) -> CallToolResult:
        """Everything on one account as of its latest scored day (`csm_health_last`): score, signals, points, MRR,
        with its renewals, changes of band and expansion opportunities. Also for accounts that left."""
        return await self.call(partial(account_tools.account, name=account))

    async def explain(
        self, account: Account, as_of: date | None = None, known_at: datetime | None = None
    ) -> CallToolResult:
        """Explain an account's score on a day (default: its latest): the points of each signal, which add up, the
        numbers behind them, and the single changes that reach the next band. `known_at` (UTC, with `as_of`): as the
        score was known at that time."""
        moment = known_at.replace(tzinfo=None) if known_at else None
        return await self.call(partial(account_tools.explain, name=account, as_of=as_of, known_at=moment))

    async def explain_change(self, account: Account, since: date, as_of: date | None = None) -> CallToolResult:
        """Split the change of an account's score between two days into parts that add up, by signal."""
        return await self.call(partial(account_tools.explain_change, name=account, since=since, as_of=as_of))

    async def what_if(
        self,
        policies: Annotated[
            list[Policy], Field(min_length=1, max_length=20, description="As under `policies` in csm.yaml.")
        ],
        date_from: date | None = None,
        date_to: date | None = None,
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> CallToolResult:
        """Apply other thresholds to the scored days (default: the newest) and compare bands, churn risk and alerts.
        `limit` and `offset` page through the accounts that would change on the last day. Changes nothing."""
        days, accounts = (date_from, date_to), (limit, offset)
        return await self.call(partial(account_tools.what_if, policies=policies, days=days, accounts=accounts))

    async def renewals(
        self,
        within_days: Annotated[int, Field(ge=0, le=3660)] = 90,
        owner: Owner | None = None,
        rag: Band | None = None,
        churn_risk_level: Risk | None = None,
        overdue: Annotated[bool, Field(description="Also renewals that have passed.")] = False,
        sort: Literal[
            "renewal_date", "mrr", "mrr_reporting", "score", "churn_risk_level", "account_id"
        ] = "renewal_date",
        descending: bool = False,
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> CallToolResult:
        """List the renewals after the newest day (`csm_renewals`), with band, churn risk and MRR."""
        filters = {
            "within_days": within_days,
            "owner": owner,
            "rag": rag,
            "churn_risk_level": churn_risk_level,
            "overdue": overdue,
        }
        page = Page(limit, offset, sort, descending)
        return await self.call(partial(portfolio_tools.renewals, filters=filters, page=page))

    async def alerts(self, owner: Owner | None = None, limit: Limit = 20, offset: Offset = 0) -> CallToolResult:
        """List the open alerts, the severe ones first. `source` is the table that they come from; if it is
        `marts.csm_overview`, the copy has no states of alerts, and the rows are the accounts with `should_alert`."""
        page = Page(limit, offset, "score")
        return await self.call(partial(portfolio_tools.alerts, owner=owner, page=page))

    async def backtest(
        self,
        date_from: date | None = None,
        date_to: date | None = None,
        every: Literal["month", "week"] = "month",
        lead_days: Annotated[int, Field(ge=0, le=3650)] = 0,
        horizon_days: Annotated[int, Field(ge=1, le=3650)] = 90,
        basis: Literal["as_known", "reconstructed", "all"] | None = None,
        segment: Text | None = None,
        tenant: Text | None = None,
        advise: Annotated[bool, Field(description="Also search for better thresholds.")] = False,
    ) -> CallToolResult:
        """How well the scores of past days predicted which accounts left: AUC, lift, churn rates by band, alerts, lead
        times and calibration, with intervals."""
        options = partial(
            BacktestOptions,
            first=date_from,
            last=date_to,
            every=every,
            lead_days=lead_days,
            horizon_days=horizon_days,
            basis=basis,
            tenant=tenant,
            segment=segment,
        )
        return await self.call(lambda connection: account_tools.backtest(connection, options(), advise=advise))

    async def sql(
        self, query: Annotated[str, Field(max_length=10_000, description="One SELECT in DuckDB's SQL.")]
    ) -> CallToolResult:
        """Run one SELECT on the published copy; the resource csm://tables describes its tables. A query has 4 seconds
        and at most 1,000 rows; it cannot read files, settings or the network."""
        return await self.call(partial(account_tools.sql, copy=self.copy, query=query, seconds=QUERY_SECONDS))
