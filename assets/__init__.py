"""Dagster assets, thin: each calls the domain in csm_core and reports what happened."""
