"""`python -m tabcohort.cli`."""

import sys

from tabcohort.cli.main import main

sys.exit(main())
