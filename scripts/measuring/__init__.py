"""What scripts/measure_tolerance is made of."""
