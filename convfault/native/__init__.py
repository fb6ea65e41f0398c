"""Native objects of a framework, opened safely: what adapters, converters, importers and builders all need.

Everything here imports its framework inside functions and executes nothing that a model file holds unless it is
trusted.
"""
