"""Tools of developers: generated documentation and column lineage. No run imports them."""
