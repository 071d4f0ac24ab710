"""What people read after an evaluation or a training: pages, plots and tables."""
