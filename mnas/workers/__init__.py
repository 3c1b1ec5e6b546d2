"""The Ray workers that train children, and the training of one child."""
