"""The names of one instance of the pipeline in Dagster: keys, groups, jobs and resources, with or without a prefix.

Several instances, one for each company, can share a code location: every name that Dagster requires to be unique comes
from here. Without a prefix, the names are those of the documentation.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import dagster as dg

RESOURCE = "pipeline"
OWNERS = ("team:customer-success-data",)
# The tag of the runs of a prefixed instance's jobs, with which a queue can limit each instance to one run.
INSTANCE = "csm/instance"
_IMPLICIT_JOB = "__ASSET_JOB"


@dataclass(frozen=True)
class Names:
    """The prefixes and the owners of an instance.

    - ``key_prefix``: the first parts of each asset key; joined with underscores, the beginning of each job, schedule,
      sensor, op and resource.
    - ``group_prefix``: the beginning of each group.
    - ``owners``: the owners of all assets, as e-mail addresses or ``team:NAME``.
    """

    key_prefix: tuple[str, ...] = ()
    group_prefix: str = ""
    owners: tuple[str, ...] = OWNERS

    def key(self, name: str) -> dg.AssetKey:
        """Return the key of the asset with this name."""
        return dg.AssetKey([*self.key_prefix, name])

    def keys(self, names: Iterable[str]) -> list[dg.AssetKey]:
        """Return the keys of the assets with these names, in the same order."""
        return [self.key(name) for name in names]

    def selection(self, names: Iterable[str]) -> dg.AssetSelection:
        """Return the selection of the assets with these names."""
        return dg.AssetSelection.assets(*self.keys(names))

    def group(self, layer: str) -> str:
        """Return the group of the assets of a layer."""
        return f"{self.group_prefix}_{layer}" if self.group_prefix else layer

    def unique(self, name: str) -> str:
        """Return the name of a job, schedule, sensor, op or resource."""
        return "_".join([*self.key_prefix, name])

    def table(self, name: str) -> str:
        """Return the name of a table in Dagster's metadata: Dagster links assets with the same table."""
        return ".".join(["_".join(self.key_prefix), name]) if self.key_prefix else name

    @property
    def resource(self) -> str:
        """The key of the pipeline resource."""
        return self.unique(RESOURCE)

    @property
    def pool(self) -> str | None:
        """The concurrency pool of all steps; None without a prefix, where the number of runs is limited instead."""
        return self.unique("csm_health") if self.key_prefix else None

    @property
    def run_tags(self) -> dict[str, str]:
        """The tags of the runs of the jobs."""
        return {INSTANCE: "_".join(self.key_prefix)} if self.key_prefix else {}

    def owns(self, run: dg.DagsterRun, jobs: Collection[str]) -> bool:
        """Whether a run belongs to this instance: it runs one of its jobs, or assets or checks with its prefix."""
        keys = {*(run.asset_selection or ()), *(one.asset_key for one in run.asset_check_selection or ())}
        # The implicit job of the asset graph has all assets of the code location, unless some are selected.
        everything = run.job_name.startswith(_IMPLICIT_JOB) and not keys
        own = any(tuple(key.path[:-1]) == self.key_prefix for key in keys)
        return everything or own or run.job_name in jobs


DEFAULT = Names()


def beside(key: dg.AssetKey, name: str) -> dg.AssetKey:
    """Return the key of another asset of the same instance."""
    return dg.AssetKey([*key.path[:-1], name])
