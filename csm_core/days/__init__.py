"""Completes days: portfolio checks, acceptance of held days, and the models built when a day starts to count.

Replays days from the records that were known at a time, with the configuration that was in force.

The status is stored by ``csm_core.warehouse.day_status``.
"""
