"""The factorized hierarchical search space, its architectures and what they lower to."""
