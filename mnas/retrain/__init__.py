"""Full training of one architecture by a recipe: `mnas retrain`.

recipe          the YAML file; mindcv_recipe translates those of MindCV
retrain         puts the parts together: data, network, trainer, run directory, logs
starting_point  trained weights that it starts from, fitted to the data
loop            epochs, checkpoints in between, validation after each
validation      on the test set, each process its share
writer          checkpoints and logs, in the first process only
directory       the run directory: settings at the start, the last and the best checkpoints
logs            epochs.csv, steps.csv and TensorBoard
processes       several devices, one process for each
"""
