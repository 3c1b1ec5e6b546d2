"""The program that times models on phones: its C sources and the binaries."""
