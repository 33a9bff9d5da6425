"""Running the product: backup and restore, the demo, alerts, repair of quarantined records, the report of a run."""
