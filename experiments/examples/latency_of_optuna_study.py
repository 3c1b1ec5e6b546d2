"""Measure the latency of the models of an Optuna study on a phone; needs `pip install optuna`. Half a minute."""

from itertools import pairwise

import numpy as np
import optuna
from onnx import ModelProto, TensorProto, helper, numpy_helper

import mnas


def perceptron(layers: int, width: int) -> ModelProto:
    """Return dense layers from 64 inputs to 10 outputs; your model comes from torch.onnx.export or the like."""
    sizes = [64, *[width] * layers, 10]
    names = [f"x{number}" for number in range(len(sizes))]
    nodes = [helper.make_node("MatMul", [name, f"{name}.weight"], [after]) for name, after in pairwise(names)]
    first, last = (helper.make_tensor_value_info(names[end], TensorProto.FLOAT, [1, sizes[end]]) for end in (0, -1))
    shapes = zip(names[:-1], pairwise(sizes), strict=True)
    weights = [numpy_helper.from_array(np.zeros(shape, np.float32), f"{name}.weight") for name, shape in shapes]
    graph = helper.make_graph(nodes, "perceptron", [first], [last], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


# "host" is one core of this machine; "pixel6" is a phone, after `mnas phones add pixel6`.
with mnas.Phone("host") as phone:

    def latency_ms(trial: optuna.Trial) -> float:
        """Return the latency of one model; return its accuracy, too, in a study of two directions."""
        model = perceptron(trial.suggest_int("layers", 1, 4), trial.suggest_int("width", 64, 512, log=True))
        record = phone.measure(model, settings={"runs": 50})
        trial.set_user_attr("spread_ms", record.mad_ms)
        return record.latency_ms

    study = optuna.create_study(direction="minimize")
    study.optimize(latency_ms, n_trials=6)

print(f"{study.best_value:.4f} ms: {study.best_params}")
