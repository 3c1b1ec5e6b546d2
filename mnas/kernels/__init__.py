"""CPU kernels for the slow parts of a training step: convolutions, batch norms, squeeze-and-excite.

They compute the same as MindSpore's operators, to rounding. The C files are the kernels (`phases.h` explains the
convolutions). `tools/build_kernels.py` compiles them into the library in `prebuilt/`; `library.py` finds it, and
`operators.py` gives it to MindSpore.
"""
