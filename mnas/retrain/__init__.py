"""Full training of one architecture by a recipe: `mnas retrain`.

recipe          the YAML file; mindcv_recipe reads those of MindCV
retrain         puts the parts together: data, network, trainer, run directory, logs
loop            epochs, checkpoints in between, validation after
writer          what the first process does beside training: validation, checkpoints, logs
directory       the run directory: what was started, the last and the best checkpoints
logs            epochs.csv, steps.csv and TensorBoard
validation      accuracy on the test set between epochs
processes       several devices, one process for each
"""
