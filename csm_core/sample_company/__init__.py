"""A fictional company of any size, in the format of the source system ``files``, for the example, tests and benchmarks.

This package generates the records with SQL and writes them to a folder. The source system ``files`` reads them like the
files of any company. Their columns are those of the staged contract (docs/sources/files.md, "Columns").

``python -m csm_core.sample_company examples/acme --format mixed`` writes the bundled example.
"""

from csm_core.sample_company.generator import BROKEN_FROM_ACCOUNTS, ENTITY_NAMES, FORMATS, GeneratedCompany, generate

__all__ = ["BROKEN_FROM_ACCOUNTS", "ENTITY_NAMES", "FORMATS", "GeneratedCompany", "generate"]
