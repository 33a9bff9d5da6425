"""The source systems: their settings, their web APIs and databases, and which raw tables each of them loads.

How files are read is in ``csm_core.ingest``; how records become staged tables is in ``csm_core.staging`` and
``sql/staging``.
"""
