"""The domain of csm-health: signals, scores, warehouse, sources and publishing. Does not depend on Dagster."""
