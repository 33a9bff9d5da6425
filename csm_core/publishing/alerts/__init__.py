"""Alerts about accounts: their states, the digests that report them, and the delivery of digests.

Not here: the configuration of rules and routes (``csm_core.warehouse.alert_settings``), and the alerts about failed
runs (``csm_core.operations.alerts``), which use the webhook of this folder.
"""
