"""`python -m tabcohort`."""

from tabcohort.cli.main import program

program()
