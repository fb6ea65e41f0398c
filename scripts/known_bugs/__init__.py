"""The faults of real converters that were seen, each with a small model that shows it."""
