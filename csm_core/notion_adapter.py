"""The Notion adapter and its renderers, under their public import path; the code is in csm_core.publishing.notion."""

from __future__ import annotations

from csm_core.publishing.notion.adapter import (
    RAG_COLOUR,
    RAG_EMOJI,
    NotionCSMAdapter,
    render_expansion_blocks,
    render_health_record_blocks,
    render_qbr_blocks,
)

__all__ = [
    "RAG_COLOUR",
    "RAG_EMOJI",
    "NotionCSMAdapter",
    "render_expansion_blocks",
    "render_health_record_blocks",
    "render_qbr_blocks",
]
