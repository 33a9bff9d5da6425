"""Pages in Notion: target pages, plan, apply, ledger, the adapter with its rate limit and retries, and the workspace.

The local Notion is ``csm_core.notion_sandbox``; only ``workspace`` starts it.
"""
