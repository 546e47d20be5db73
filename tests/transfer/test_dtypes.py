"""Half precision on either side: the target keeps its dtype, and the report tells its norms."""
from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from pptrain.integrations import named
from pptrain.transfer import create_policy, registered_policies

POLICIES = [{"name": name} for name in registered_policies()]
POLICIES += [{"name": "reinitialize_embeddings", "embeddings": rule}
             for rule in ("fresh(0.1)", "scaled", "mean", "match", "copy", "sampled")]
HALF = (torch.bfloat16, torch.float16)
SIDES = [(half, torch.float32) for half in HALF] + [(torch.float32, half) for half in HALF]


def built(seed, ids, dtype, tied=True):
    torch.manual_seed(seed)
    config = AutoConfig.for_model("gpt2", n_embd=16, n_layer=2, n_head=2, vocab_size=ids,
                                  n_positions=16, tie_word_embeddings=tied)
    return AutoModelForCausalLM.from_config(config).to(dtype)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("there, here", SIDES, ids=str)
def test_dtypes_and_norms(policy, there, here):
    source, target = built(0, 12, there), built(1, 20, here)
    norms = {n: float(p.detach().float().norm()) for n, p in named(target).items()}
    before = {n: p.detach().clone() for n, p in named(target).items()}
    report = create_policy(policy).apply_state_dict(source.state_dict(), target)
    assert {p.dtype for p in target.parameters()} == {here}
    own = named(target)
    for fate in report.fates:
        if fate.target:
            assert fate.before == pytest.approx(norms[fate.name], rel=1e-3, abs=1e-6), fate
            after = float(own[fate.name].detach().float().norm())
            assert fate.after == pytest.approx(after, rel=1e-3, abs=1e-6), fate
        if fate.outcome == "crosses" and fate.elements:
            assert torch.equal(own[fate.name], source.state_dict()[fate.name].to(here))
        if fate.outcome == "fresh" and fate.target:
            assert torch.equal(own[fate.name], before[fate.name])


@pytest.mark.parametrize("tied", [True, False])
def test_norms_of_both_names_of_a_table(tied):
    "A tied pair is one matrix: both lines tell its norm before anything was written."
    source, target = built(0, 12, torch.float32), built(1, 20, torch.float32, tied)
    norms = {n: float(p.detach().norm()) for n, p in named(target).items()}
    report = create_policy("reinitialize_embeddings", embeddings="mean").apply_state_dict(
        source.state_dict(), target)
    tables = [fate for fate in report.fates if fate.part == "embed" and fate.target]
    assert len(tables) == 2
    assert all(fate.before == pytest.approx(norms[fate.name]) != fate.after for fate in tables)
