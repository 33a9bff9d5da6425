"""Dagster definitions: build, resources, partitions, jobs, schedules."""
