"""The target content of a page that is not in a database. It is found again by its title under its parent page.

The portfolio page and the pages of internal notes are such pages; ``titled_page_writer`` writes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from csm_core.publishing.notion.databases import DatabaseSpec
from csm_core.publishing.notion.rich_text import RUNS_PER_ARRAY, Block, Run, plain, runs

_HASH_VERSION = "1:"


@dataclass(frozen=True)
class TitledPage:
    """The title and the blocks of a page, from the partition ``day``.

    ``blocks`` are kept up to date. ``lead`` are the blocks before them, whose change alone is not written. The ledger
    stores the page under the setting of the database ``spec``.
    """

    kind: str
    key: str
    name: str
    icon: str
    spec: DatabaseSpec
    day: date
    blocks: Sequence[Block]
    lead: Sequence[Block] = ()

    @property
    def title_runs(self) -> list[Run]:
        """The title in the API's format; Notion limits it to 100 runs."""
        return runs(self.name)[:RUNS_PER_ARRAY]

    @property
    def title(self) -> str:
        """The title as Notion returns it, without control characters."""
        return plain(self.title_runs)

    @property
    def all_blocks(self) -> list[Block]:
        """The lead and the blocks."""
        return [*self.lead, *self.blocks]

    @property
    def content_hash(self) -> str:
        """A hash of ``blocks``."""
        canonical = json.dumps(self.blocks, sort_keys=True, ensure_ascii=False)
        return _HASH_VERSION + hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
