"""The Deployment controller: `deployment.py` acts, the other files decide."""
