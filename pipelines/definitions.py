"""The code location: `dagster dev -w workspace.yaml` and `dg dev` load it. The import has no side effects."""

import dagster as dg

from csm_core import logging
from csm_core.config import load_config
from csm_core.system.file_access import restrict_files
from pipelines.build import build_defs


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions for the configuration of CSM_CONFIG or ./csm.yaml, or for the embedded defaults."""
    config = load_config()
    restrict_files(config)
    logging.configure(config.log_format)
    return build_defs(config)
