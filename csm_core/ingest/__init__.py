"""Files to raw tables: finding, reading and loading CSV, JSON lines and Parquet, and the columns of raw tables.

Nothing here knows the configuration or a vendor; what a vendor needs is passed in.
"""
