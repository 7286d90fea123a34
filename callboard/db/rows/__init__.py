"""What rows may hold, and what to do about those that hold something else."""
