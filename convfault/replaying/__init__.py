"""Replays one layer alone, on the input that its own runtime had, in every runtime that has it.

It stands above ``localization``, which asks for it by name, because it needs what stands there, the cutters, and the
writers of ``repairing``.
"""
