"""The domain of csm-health: signals, scores, warehouse, sources and publishing. Knows nothing of Dagster."""
