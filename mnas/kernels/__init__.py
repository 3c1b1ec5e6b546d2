"""Own CPU kernels for what takes MindSpore most of a training step: convolutions, batch norms, squeeze-and-excite.

The C files are the kernels (`phases.h` explains the convolutions), `build.py` compiles them into the library in
`prebuilt/`, `library.py` finds it, `operators.py` gives it to MindSpore. They compute what MindSpore's operators
compute, to rounding.
"""
