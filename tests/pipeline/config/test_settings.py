import pytest

from pipeline.config import Settings
from pipeline.errors import RecipeError


def test_a_variable_set_to_nothing_is_not_set(monkeypatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TRADEWIND_{name.upper()}", raising=False)
    unset = Settings()
    for name in Settings.model_fields:
        monkeypatch.setenv(f"TRADEWIND_{name.upper()}", "")
    found = Settings()
    assert found == unset
    assert found.model_fields_set == set()


@pytest.mark.parametrize("slots", ["many", "0", "1.5"])
def test_a_variable_that_holds_what_it_cannot_is_told_by_its_name(monkeypatch, slots) -> None:
    monkeypatch.setenv("TRADEWIND_POOL_SLOTS", slots)
    with pytest.raises(RecipeError, match=f"^TRADEWIND_POOL_SLOTS: received '{slots}'; expected a whole number"):
        Settings()
