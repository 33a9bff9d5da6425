"""``csm doctor``: reads a sample of every source and reports problems before a run loads anything.

``examination`` returns the findings as data, ``report`` formats them. The rules themselves are those of
``csm_core.ingest`` and ``csm_core.staging``, which are applied to the samples.
"""
