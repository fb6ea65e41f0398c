"""The analyzer of the parameters: which weights differ, and what kind of difference it is."""
