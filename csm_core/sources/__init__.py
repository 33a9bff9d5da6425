"""The source systems: their settings, web APIs, databases and raw tables.

``csm_core.ingest`` reads files; ``csm_core.staging`` and ``sql/staging`` turn records into staged tables.
"""
