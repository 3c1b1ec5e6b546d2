"""`python -m mnas`."""

import sys

from mnas.cli import main

sys.exit(main())
