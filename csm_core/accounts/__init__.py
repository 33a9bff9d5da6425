"""Which record of a source belongs to which account: the account map, suggestions for it, and their report.

The joins themselves are SQL models (``sql/staging``); the keys of a vendor's records are in ``csm_core.sources``.
"""
