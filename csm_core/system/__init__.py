"""What the machine gives: files, locks, paths, addresses, secrets, terminals, and the base class of settings.

Nothing here knows customers, DuckDB or Notion, and nothing here imports another folder.
"""
