"""The program that times models on phones: its C sources, how they are built, and the binaries."""
