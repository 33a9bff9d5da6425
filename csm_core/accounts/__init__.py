"""Maps vendors' customers to accounts: the account map, suggestions for it, and their report.

The joins are SQL models (``sql/staging``); the keys of a vendor's records are in ``csm_core.sources``.
"""
