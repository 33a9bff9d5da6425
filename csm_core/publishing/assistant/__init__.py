"""The read-only MCP server for assistants, ``csm mcp``: tools and resources on the published copy.

Every answer has limits of time and size.
The figures come from the functions that the commands use; nothing here computes its own. Only ``server`` and ``tools``
import the MCP SDK, which is the extra ``mcp``.
"""
