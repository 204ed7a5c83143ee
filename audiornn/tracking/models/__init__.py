"""Models in MLflow: logged, ranked, registered."""
