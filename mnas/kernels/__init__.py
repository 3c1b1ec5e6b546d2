"""CPU kernels that train a whole network as one operator of MindSpore.

They compute the same as MindSpore's operators, to rounding. The C files are the kernels: `tensor.h` explains how values
are stored, `window.h` the convolutions, `network.c` runs the layers. `tools/build_kernels.py` compiles them into the
library in `prebuilt/`; `library.py` finds it, `program.py` lists a network's layers for it, and `operators.py` gives it
to MindSpore.
"""
