"""The commands of ``csm``, one module per group; ``csm_core.cli`` assembles them.

A command reads its options, calls the domain and prints the report. Modules that are slow to import are imported inside
the commands. ``options`` has the shared options, ``command_line`` the checks of all arguments. Domain logic and report
formats do not belong here.
"""
