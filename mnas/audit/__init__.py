"""The audit of an experiment: how noisy its numbers are, what cheaper trainings tell, and what its search costs."""
