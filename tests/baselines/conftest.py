"""Few pairs of prompts: vectors of all of them take minutes."""

import pytest

from safediffusion.baselines import casteer


@pytest.fixture
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(casteer, "ADULTS", casteer.ADULTS[:2])
    monkeypatch.setattr(casteer, "CONTEXTS", casteer.CONTEXTS[3:4])
