"""The DuckDB file: opened, locked and filled; SQL models, checks of tables, changes, and the status of days.

Nothing here knows the configuration, a vendor or Notion.
"""
