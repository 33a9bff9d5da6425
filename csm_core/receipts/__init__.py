"""Receipts: proofs of published scores. Statements, records, roots of days, and their verification.

No formatting of reports, and nothing about pages in Notion. ``standalone`` imports nothing from this package.
"""
