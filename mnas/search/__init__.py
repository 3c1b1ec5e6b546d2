"""A search: its driver, its store and run directory, and everything put together."""
