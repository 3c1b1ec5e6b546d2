"""Search for a small network for handwritten digits, and export the best one. Half a minute on two cores."""

import mnas
from search_space import format_block

# A bundled experiment, with other values. Its file is experiments/quickstart.yaml; a path works, too.
experiment = mnas.Experiment.load("quickstart").changed({"search.trials": 8})

# Ray workers train the networks, this machine times them. Stop it whenever you like: run again, it goes on.
run = experiment.run("runs/example_search")

for trial in run.best_trials(3):
    print(f"trial {trial.id}: accuracy {trial.accuracy:.3f}, {trial.latency_ms:.4f} ms, reward {trial.reward:.3f}")
print(*map(format_block, run.architecture(run.best()).blocks), sep="\n")

# ONNX for phones, MindIR for MindSpore Lite and Ascend, checkpoints, a model card and a diagram.
exported = run.export("export/example_search", force=True)
print(f"{exported.folder}: {', '.join(exported.files)}")
