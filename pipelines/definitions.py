"""The code location: `dagster dev -w workspace.yaml` and `dg dev` load this module. No side effect at import."""

import dagster as dg

from csm_core import logging
from csm_core.config import load_config
from csm_core.system.file_access import restrict_files
from pipelines.build import build_defs


@dg.definitions
def defs() -> dg.Definitions:
    """Everything, for the configuration that CSM_CONFIG or ./csm.yaml names, else the embedded defaults."""
    config = load_config()
    restrict_files(config)
    logging.configure(config.log_format)
    return build_defs(config)
