"""Completes days: portfolio checks, acceptance of held days, and the models built when a day starts to count.

The status is stored by ``csm_core.warehouse.day_status``.
"""
