"""The command line: a thin shell over the library. `main` runs a command, `parser` has the options."""
