"""The DuckDB file: connections, locks, migrations, SQL models and their checks, late records, and the status of days.

No module here uses the configuration, a vendor or Notion.
"""
