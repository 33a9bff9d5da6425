"""Completing a day: portfolio checks, acceptance of a held day, and what is built when a day begins to count.

The status itself is kept by ``csm_core.warehouse.day_status``.
"""
