"""What setup.cfg cannot say: the packages, and where the build writes."""

from setuptools import find_packages, setup

setup(
    # The wheel holds the YAML files of experiments/ as mnas/bundled; package_data in setup.cfg says which.
    packages=[*find_packages(include=["mnas*", "search_space*", "controllers*", "latency*"]), "mnas.bundled"],
    package_dir={"mnas.bundled": "experiments"},
)
