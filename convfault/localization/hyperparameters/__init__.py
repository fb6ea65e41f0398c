"""The analyzer of the hyperparameters: which attribute of two matched layers differs."""
