"""Search: settings chosen by Optuna from ranges, each one a trial: a DVC experiment, and a child of one MLflow run.

    search:
      train.learning_rate: {low: 0.0005, high: 0.02, log: true}
      train.model.units: {low: 64, high: 512}
      train.optimizer: {choice: [adamw, adam]}
    trials: 20

The next trial follows from those before it and from its number alone, so that a search that was interrupted finds the
same as one that was not.
"""
