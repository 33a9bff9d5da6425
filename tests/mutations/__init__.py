"""Records of every source with one value changed to something odd: what becomes of each, against rules of its own."""
