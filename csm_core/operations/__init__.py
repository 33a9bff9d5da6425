"""Operations: backup and restore, the demo, alerts, repair of rejected records, and the report of a run.

Modules with the suffix ``_text`` only format reports. The steps of a run are in other folders.
"""
