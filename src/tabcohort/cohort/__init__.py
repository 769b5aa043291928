"""All members of a fit: the plan, the run, the selection and the search over configs. Start at `fit.py`."""
