"""How property tests run here, on machines that other tests keep busy; import this before ``@given`` is used."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("convfault", deadline=None, max_examples=50)
settings.load_profile("convfault")
