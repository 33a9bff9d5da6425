"""Analysis of scored days: queries, the published copy, explanations, what-if, file scoring, summaries and charts.

It reads built tables and does not change scores. Modules with the suffix ``_text`` only format reports.
"""
