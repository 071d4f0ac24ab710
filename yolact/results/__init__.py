"""What people read of evaluations: the page of one, and several side by side."""
