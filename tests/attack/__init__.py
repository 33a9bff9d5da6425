"""Attacks on the command line: mutated configurations, paths and records, planted secrets, kills."""
