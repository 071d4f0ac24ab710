"""What runs the network: PyTorch, and for exported files the runtime that each is made for (`exported`)."""
