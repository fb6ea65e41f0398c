"""Mends a target in its own format. ``convfault.repair`` is the command's function; its parts are in here."""
