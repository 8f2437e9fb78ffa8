"""The Job controller: `job.py` acts, the other files decide."""
