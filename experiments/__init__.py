"""Searches, recipes and phones to copy and edit; `benchmarks/` holds the scripts behind published numbers."""
