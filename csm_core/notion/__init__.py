"""Publishing to Notion: plan, apply, ledger, request budget, database schemas and the sandbox server."""
