"""How good predictions are: metrics with intervals, calibration, decision rules, out-of-fold predictions."""
