"""Which record of a source belongs to which account: the account map, suggestions for it, and their report."""
