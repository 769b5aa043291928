"""The finished model: its predictor, its report and its file."""
