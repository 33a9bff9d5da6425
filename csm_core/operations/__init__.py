"""Running the product: backup and restore, the demo, alerts, repair of quarantined records, the report of a run.

A module whose name ends in ``_text`` only formats. What a run does with the warehouse is in the folders below it.
"""
