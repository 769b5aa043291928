"""Training one network: the loop over epochs, the learning rate, checkpoints, and any PyTorch module."""
