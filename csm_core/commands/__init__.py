"""The commands of ``csm``, one module per group; ``csm_core.cli`` assembles them.

A command reads its options, calls the domain and prints the report. Modules that take long to import are imported
inside of the commands. ``options`` holds what several commands share, ``command_line`` the checks of all arguments.
Domain logic and the format of a report do not belong here.
"""
