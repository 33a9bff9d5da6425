"""Replays days from the records that were known at a time, with the configuration that was in force."""
