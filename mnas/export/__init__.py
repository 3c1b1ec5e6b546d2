"""Export: a self-contained folder with a network of a search or a training."""
