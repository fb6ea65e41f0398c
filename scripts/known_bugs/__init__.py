"""The faults of real converters in shared/known_bugs.yaml, each with a small model that shows it."""
