"""`python -m tickerd`: the same as the command."""

import sys

from tickerd.cli import main

sys.exit(main())
