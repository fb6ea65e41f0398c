"""The analyzer of the input: layout, size, channels, scale and mean, the order of inputs and of classes."""
