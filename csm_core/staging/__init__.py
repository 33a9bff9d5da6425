"""Stages raw records: types, validation, full refresh or merge by key, quarantine, and the changed days.

No module here depends on a vendor; the SQL of each vendor is in ``sql/staging/<system>``.
"""
