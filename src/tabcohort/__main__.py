"""`python -m tabcohort`."""

import sys

from tabcohort.cli.main import main

sys.exit(main())
