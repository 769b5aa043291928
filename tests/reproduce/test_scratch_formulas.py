"""The formulas of the network from scratch."""

from __future__ import annotations

import numpy as np
import pytest

from tabcohort.reproduce import scratch_formulas
from tabcohort.reproduce.scratch_formulas import formula_claims, gradient_differences


def test_formulas_agree_with_pytorch() -> None:
    assert [claim.verdict for claim in formula_claims()] == ["holds"] * 3
    assert len(gradient_differences()) == 5 * 4 + 4 + 4 + 1


def test_a_wrong_formula_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch_formulas, "expit", lambda x: 1 / (1 + np.exp(-0.999 * x)))
    assert [claim.verdict for claim in formula_claims()] == ["holds", "holds", "does not hold"]
