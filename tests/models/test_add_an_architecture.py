"""The worked example of docs/add-an-architecture.md, run as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest

from kcap_ray.models import counts, decoder
from tests.models import test_decoder, test_spec

GUIDE = Path(__file__).parents[2] / "docs" / "add-an-architecture.md"
NAMES = ["gpt2-2-2-mean", "llama-2-2-mean", "mistral-2-4-mean-moe2-canonAC"]


@pytest.fixture
def _with_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds the guide's file and its two lines."""
    file, count = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    module: dict[str, Any] = {}
    exec(file, module)
    counting = vars(counts).copy()
    exec("from __future__ import annotations\n" + count, counting)
    monkeypatch.setitem(decoder.MIXERS, "mean", module["Mean"])
    monkeypatch.setitem(counts.MIXERS, "mean", counting["mean"])


@pytest.mark.usefixtures("_with_mean", "in_float64")
@pytest.mark.parametrize("name", NAMES)
def test_the_guides_mixer_keeps_the_laws_of_all_models(name: str) -> None:
    """Counted right, causal, and the same alone and fused, after nothing but the guide's steps."""
    test_spec.test_built_model_has_the_parameters_of_the_closed_formula(name)
    test_spec.test_a_token_uses_all_weights_but_those_of_other_experts(name)
    for n_trials in (None, 2):
        test_decoder.test_no_logit_depends_on_a_later_token(name, n_trials)
    test_decoder.test_trials_with_weights_of_their_own_are_the_models_alone(name)
