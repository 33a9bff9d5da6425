"""The code location: `dagster dev -w workspace.yaml` and `dg dev` load this module. No side effect at import."""

import dagster as dg

from pipelines.build import build_defs


@dg.definitions
def defs() -> dg.Definitions:
    """Everything, for the configuration that CSM_CONFIG or ./csm.yaml names, else the embedded defaults."""
    return build_defs()
