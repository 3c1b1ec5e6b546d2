import subprocess
import sys
from pathlib import Path

# Modules that sys.modules maps to None cannot be imported.
SCRIPT = """
import sys
for name in "msgspec yaml onnx onnxruntime ray mindspore PIL psutil rich pytest hypothesis".split():
    sys.modules[name] = None

import controllers

controller = controllers.create_controller("ppo", (2, 3), seed=0)
controller.restore(controllers.state_from_bytes(controllers.state_to_bytes(controller.state())))
print(len(controller.ask(2)))
"""


def test_controllers_need_numpy_only() -> None:
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "2\n"), result.stderr
