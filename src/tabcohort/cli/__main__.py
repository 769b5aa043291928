"""`python -m tabcohort.cli`."""

from tabcohort.cli.main import program

program()
