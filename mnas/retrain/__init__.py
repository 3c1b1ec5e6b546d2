"""Full training of one architecture by a recipe: `mnas retrain`."""
