"""Training one member: the loop over epochs, the learning rate, checkpoints, and any PyTorch module."""
