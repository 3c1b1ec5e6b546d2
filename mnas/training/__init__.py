"""Training a network: settings, the compiled step, optimizers, schedules, and the state of a training."""
