"""Loads files into raw tables: finds, reads and loads CSV, JSON lines and Parquet, and manages raw columns.

No module here uses the configuration or a vendor; callers pass what a vendor needs.
"""
