"""Developer tools: generated documentation and column lineage. Runs do not import them."""
