"""The rubric as SQL and DuckDB macros, the input columns, and the scoring of days in the warehouse.

The scalar reference is ``csm_core.health_scorer``; weights and points are in ``csm_core.rubric``.
"""
