"""The rubric as SQL and macros, the columns of signals, and the scoring of a warehouse's days.

The scalar reference is ``csm_core.health_scorer``; weights and points are in ``csm_core.rubric``.
"""
