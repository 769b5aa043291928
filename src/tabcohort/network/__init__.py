"""What a network is: a program of operations over one parameter vector, and the PyTorch modules it comes from."""
