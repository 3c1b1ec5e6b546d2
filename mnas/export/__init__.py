"""Export: a self-contained folder that carries a network out of a search or a training."""
