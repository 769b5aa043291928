"""What runs the epochs of a network: PyTorch, the reference, and the compiled engine, from the same batches."""
