"""From raw to staged records: types, validation, full refresh or merge by key, quarantine, and the days that changed.

No vendor is named here; the SQL of each is in ``sql/staging/<system>``.
"""
