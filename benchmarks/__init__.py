"""Benchmarks: ratios to a baseline ("floor") in the same run. Run ``make bench`` or ``python -m benchmarks``."""
