"""MLflow: runs, sweeps, the registry of models."""
