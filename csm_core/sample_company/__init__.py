"""A made-up company of any size, in the format of the source system ``files``: for the example, tests and benchmarks.

Belongs here: what the company looks like, as SQL, and writing it to a folder. Not here: reading it, which the source
system ``files`` does as with any company's. The contract of the files is the staged contract of signals.md.

``python -m csm_core.sample_company examples/acme --format mixed`` writes the bundled example.
"""

from csm_core.sample_company.generator import BROKEN_FROM_ACCOUNTS, ENTITY_NAMES, FORMATS, GeneratedCompany, generate

__all__ = ["BROKEN_FROM_ACCOUNTS", "ENTITY_NAMES", "FORMATS", "GeneratedCompany", "generate"]
