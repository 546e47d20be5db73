"""Similarity, divergence and heads where the answer is known, and against other people's code."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from pptrain import InputError
from pptrain.data import Example
from pptrain.measure import (
    cka_map, divergences, effective_rank, induction_score, linear_cka, midlayer_cka, null_band,
    null_draws, prediction_js, prediction_kl, registered_measures, weight_distance)

TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def clouds(seed: int, n: int = 192, d: int = 768) -> tuple[np.ndarray, np.ndarray]:
    "Two independent sets of N(0, 1) features."
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(n, d))


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_a_rotated_and_rescaled_copy_is_the_same(debiased, scale):
    x, y = clouds(0, 100, 40)
    turn = np.linalg.qr(y[:40])[0]
    assert linear_cka(x, scale * x @ turn, debiased) == pytest.approx(1, abs=1e-5)
    assert linear_cka(torch.tensor(x).float(), scale * x @ turn + 3) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("seed", range(10))
def test_independent_features_lie_in_their_band(seed):
    x, y = clouds(seed)
    low, high = null_band(192)
    value = linear_cka(x, y)
    assert low < value < high
    assert abs(value) < .05
    assert linear_cka(x, y, debiased=False) > .5      # what the correction is for


@pytest.mark.parametrize("kind", ["shuffled", "independent"])
@pytest.mark.parametrize("d", [1, 3, 200])
def test_the_band_is_what_draws_give(kind, d):
    rng = np.random.default_rng(d)
    x = rng.exponential(size=(40, d))
    values = null_draws(x, x[:, ::-1] ** 2, kind, draws=600)
    exact = math.sqrt(2 / (40 * 37))
    assert abs(values.mean()) < 5 * exact / math.sqrt(600)
    low, high = null_band(40)
    assert ((low <= values) & (values <= high)).mean() > .97
    if d == 200:
        assert values.std() == pytest.approx(exact, rel=.15)


@pytest.mark.parametrize("debiased", [True, False])
def test_batches_of_rows_change_no_number(debiased):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4096, 64))
    y = x @ rng.normal(size=(64, 48)) + 5 * rng.normal(size=(4096, 48))
    whole = linear_cka(x, y, debiased)
    for size in (1, 100, 256, 5000):
        assert linear_cka(x, y, debiased, batch_size=size) == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_agrees_with_ckatorch(dtype):
    "Fixed by others: https://pypi.org/project/ckatorch, its full and its mini-batch form."
    core = pytest.importorskip("ckatorch.core", reason="the dev extra brings ckatorch")
    rng = np.random.default_rng(1)
    x = torch.tensor(rng.normal(size=(128, 50)) + 2).to(dtype)
    y = torch.tensor(x.double().numpy()[:, :20] ** 2 + rng.normal(size=(128, 20))).to(dtype)
    theirs = core.cka_base(x, y, unbiased=True).item()
    assert linear_cka(x, y) == pytest.approx(theirs, abs=1e-4)
    assert linear_cka(x, y, batch_size=32) == pytest.approx(theirs, abs=1e-4)
    assert linear_cka(x, y, False) == pytest.approx(core.cka_base(x, y).item(), abs=1e-4)
    one_batch = core.cka_batch(x[None].double(), y[None].double()).item()
    assert linear_cka(x, y) == pytest.approx(one_batch, abs=1e-4)


@pytest.mark.parametrize("x, word", [
    (np.eye(3), "3 rows"), (np.ones((9, 2)), "constant"), (np.full((9, 2), np.nan), "NaN"),
    (np.r_[np.eye(8), [[np.inf] * 8]], "infinite"), (np.ones(9), "shape"), ("words", "numbers"),
    (np.r_[np.ones((1, 2)), np.zeros((8, 2))], "all rows but one")], ids=lambda v: str(v)[:9])
def test_features_without_geometry_are_refused(x, word):
    with pytest.raises(InputError, match=word):
        linear_cka(x, x)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_divergences_from_logits_of_any_type(dtype):
    torch.manual_seed(0)
    p = (4 * torch.randn(3, 7, 101)).to(dtype)
    q = (4 * torch.randn(3, 7, 101)).to(dtype)
    assert prediction_kl(p, p) == 0 and prediction_js(p, p) == 0
    assert prediction_js(p, q) == prediction_js(q, p) <= math.log(2)
    x, y = (torch.log_softmax(z.double(), -1) for z in (p, q))
    expected = nn.functional.kl_div(y, x, log_target=True, reduction="none").sum(-1)
    mask = torch.rand(3, 7) < .5
    assert prediction_kl(p, q, mask) == pytest.approx(expected[mask].mean().item(), abs=1e-12)
    mean = torch.logaddexp(x, y) - math.log(2)
    js = [nn.functional.kl_div(mean, z, log_target=True, reduction="none").sum(-1) for z in (x, y)]
    assert prediction_js(p, q) == pytest.approx(((js[0] + js[1]) / 2).mean().item(), abs=1e-12)


def test_tokens_that_are_ruled_out():
    shut, open_ = torch.tensor([[0., 0., -math.inf]]), torch.zeros(1, 3)
    assert prediction_kl(shut, open_) == pytest.approx(math.log(1.5))
    assert prediction_kl(open_, shut) == math.inf
    assert 0 < prediction_js(open_, shut) < math.log(2)
    apart = torch.tensor([[0., -math.inf]]), torch.tensor([[-math.inf, 0.]])
    assert prediction_js(*apart) == math.log(2)


def test_effective_rank_of_what_is_known():
    assert effective_rank(7 * np.eye(12)) == pytest.approx(12)
    assert effective_rank(np.outer(np.arange(5), np.arange(1, 4))) == pytest.approx(1)
    shares = np.array([4, 2, 1, 1]) / 8
    expected = math.exp(-(shares * np.log(shares)).sum())
    assert effective_rank(np.diag([4., 2, 1, 1])) == pytest.approx(expected)


SIZES = dict(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
             intermediate_size=16, max_position_embeddings=64)
DECODERS = {
    "gpt2": dict(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=64),
    "gpt_neox": SIZES, "phi": SIZES, "llama": SIZES | dict(num_key_value_heads=1),
    "mistral": SIZES | dict(num_key_value_heads=2), "qwen2": SIZES | dict(num_key_value_heads=1),
    "gemma": SIZES | dict(head_dim=8, num_key_value_heads=2),
    "opt": SIZES | dict(ffn_dim=16, word_embed_proj_dim=16),
    "bloom": dict(vocab_size=40, hidden_size=16, n_layer=2, n_head=2),
    "gptj": dict(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=64, rotary_dim=4),
}
WITHOUT_MAPS = {
    "mamba": dict(vocab_size=40, hidden_size=16, num_hidden_layers=2, state_size=4),
    "rwkv": dict(vocab_size=40, hidden_size=16, num_hidden_layers=2, attention_hidden_size=16),
}


def decoder(kind: str) -> nn.Module:
    "A decoder of a few thousand weights."
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(DECODERS | WITHOUT_MAPS)[kind])
    return AutoModelForCausalLM.from_config(config)


@pytest.fixture
def held() -> list[Example]:
    "Rows of different lengths, loss on their later half."
    rng = np.random.default_rng(0)
    return [Example(rng.integers(1, 40, n), np.arange(n) >= n // 2) for n in range(6, 22)]


@pytest.mark.parametrize("kind", DECODERS)
def test_every_kind_of_decoder(kind, held):
    model = decoder(kind).train()
    config = model.config.to_dict()
    way = model.config._attn_implementation
    scores = induction_score(model, count=4)
    assert scores.shape == (2, 2) and (0 <= scores).all() and (scores < .3).all()
    assert np.allclose(induction_score(model, count=4, batch_size=3), scores, atol=1e-5)
    cka = cka_map(model, model, held)
    assert np.allclose(np.diag(cka.values), 1) and cka.values.shape == (3, 3)
    assert np.allclose(cka_map(model, model, held, batch_size=5).values, cka.values, atol=1e-3)
    assert model.training and model.config.to_dict() == config
    assert model.config._attn_implementation == way


@pytest.mark.parametrize("kind", WITHOUT_MAPS)
def test_models_without_attention_maps(kind, held):
    model = decoder(kind)
    with pytest.raises(InputError, match="no attention maps"):
        induction_score(model)
    other = decoder("gpt2")
    assert cka_map(model, other, held).values.shape[1] == 3
    table = divergences({"a": model, "b": other}, held)
    assert table.tokens[0] == sum(len(row) - len(row) // 2 for row in held)


def test_a_pair_table_of_wrapped_models(held):
    model, other = decoder("llama"), decoder("gpt2")
    arms = {"plain": model, "compiled": torch.compile(model), "parallel": nn.DataParallel(other)}
    table = midlayer_cka(arms, held).set_index(["model_a", "model_b"])
    assert len(table) == 3 and table.cka["plain", "compiled"] == pytest.approx(1)
    assert (divergences(arms, held).kl >= 0).all()


def test_the_measures_are_known_by_name(held):
    model = decoder("gpt2")
    for name in ("effective_rank", "induction", "copying"):
        measured = registered_measures()[name](model, held, batch_size=4)
        assert set(measured) == {name} and measured[name] > 0


@pytest.mark.parametrize("value", ["x", ["a", "b"], None, [[1, 2], [3]]])
def test_a_distance_of_what_holds_no_numbers_is_refused_by_name(value):
    with pytest.raises(InputError, match="a: w"):
        weight_distance({"w": value}, {"w": [1.0]})
