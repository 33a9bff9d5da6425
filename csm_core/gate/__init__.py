"""The parts of the gate (``csm_core.staging_gate``): what there is to do, two ways of doing it, what is refused."""
