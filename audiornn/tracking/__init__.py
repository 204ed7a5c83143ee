"""MLflow tracking: runs, sweeps, model registry."""
