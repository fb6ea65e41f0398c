"""How much memory cells may expect together, and how much each one does."""

from __future__ import annotations

import pytest

from convfault.matrix import memory


def test_two_workers_expect_at_most_twelve_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1e6)
    assert memory.budget(2) == 12 * 1024


def test_on_a_small_machine_a_fifth_of_what_is_free_stays_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1000.0)
    assert memory.budget(2) == 800


def test_a_container_counts_where_it_allows_less_than_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_machine", lambda: 9000.0)
    monkeypatch.setattr(memory, "_container", lambda: 500.0)
    assert memory.available() == 500


def test_this_machine_has_some_memory() -> None:
    assert memory.available() > 100


def test_a_session_takes_more_for_a_larger_model() -> None:
    assert memory.session("tf", 200.0) > memory.session("tf", 10.0) > 0
    assert memory.session("unheard_of", 10.0) > 0
