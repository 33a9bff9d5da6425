"""``csm doctor``: reads a sample of every source and reports problems before a run loads anything."""
