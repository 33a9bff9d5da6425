"""Answers about scored days: queries, the published copy, explanations, what-if, scoring a file, summaries and charts.

Reads only what is built; nothing here changes scores.
"""
