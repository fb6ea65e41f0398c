"""Every model × pair × route as a cell: planned, run in parallel, kept at once, compared with a baseline."""
