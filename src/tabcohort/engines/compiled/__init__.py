"""The compiled engine: hand-derived gradients in Numba kernels, and inference without PyTorch."""
