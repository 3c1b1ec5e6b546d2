"""How accurate trained weights are on a set of images."""
