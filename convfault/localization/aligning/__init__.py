"""Which layer of the target does what a layer of the source does."""
