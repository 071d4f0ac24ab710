"""What runs the network: PyTorch, and for exported files the runtime that each is made for.

Each runtime is a small class in a file of its own; `exported.open_exported` chooses one by the name of the file.
"""
