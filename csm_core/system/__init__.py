"""Operating-system helpers: files, locks, paths, addresses, secrets, terminals, and the base class of settings.

No module here uses customer data, DuckDB or Notion, and no module here imports another folder.
"""
