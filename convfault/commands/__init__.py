"""The commands, one file each: flags, a call of ``pipeline``, what is printed, the exit code."""
