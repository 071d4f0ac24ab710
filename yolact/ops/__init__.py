"""Pure functions of tensors: boxes, masks and non-maximum suppression."""
