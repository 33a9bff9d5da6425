"""Parts of the command line: how arguments are checked and errors are shown. The commands are in ``csm_core.cli``."""
