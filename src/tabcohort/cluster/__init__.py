"""A Ray cluster: where members are trained, shards of rows are predicted for, and models are served."""
