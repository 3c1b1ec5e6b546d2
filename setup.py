"""What setup.cfg cannot say: the packages, and a folder outside the checkout for what the build writes."""

import tempfile

from setuptools import find_packages, setup

with tempfile.TemporaryDirectory(prefix="mnas-build-") as build:
    setup(
        # The wheel holds the YAML files of experiments/ as mnas/bundled; package_data in setup.cfg says which.
        packages=[*find_packages(include=["mnas*", "search_space*", "controllers*", "latency*"]), "mnas.bundled"],
        package_dir={"mnas.bundled": "experiments"},
        options={"build": {"build_base": build}, "egg_info": {"egg_base": build}},
    )
