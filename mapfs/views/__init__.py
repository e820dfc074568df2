"""What people look at: each view reads events or a trace, and nothing else."""
