"""One module per source system: how its records reach the raw schema."""
