"""Every family with every component word: what crosses is what the word says, counted by hand."""
from __future__ import annotations

import warnings

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from pptrain.errors import InputError
from pptrain.integrations import named
from pptrain.transfer import create_policy

W, HEADS, LAYERS, IDS, INNER, LONG = 16, 4, 2, 20, 32, 16
SIZES = dict(hidden_size=W, num_hidden_layers=LAYERS, num_attention_heads=HEADS, vocab_size=IDS,
             bos_token_id=0, eos_token_id=0, pad_token_id=0, intermediate_size=INNER)


def layer(qk, vo, mlp, before, norms=0, attn=0, other=0):
    "Numbers of one layer: scores, results, what of attention is neither, MLP, norms."
    return {"attn_qk": qk, "attn_vo": vo, "attn": qk + vo + attn, "mlp": mlp, "attn_norm": before,
            "norm": before + norms, "other": other}


def counts(one, final, position=0, tied=True, more=0):
    "Numbers of a model with two layers like `one`; `more` are norms before the layers."
    every = {word: LAYERS * n for word, n in one.items()}
    every["norm"] += final + more
    return every | {"final_norm": final + more, "position": position, "embed": IDS * W,
                    "head": 0 if tied else IDS * W}


SQUARE, KV = W * W, W * W // 2      # a full matrix; one of half as many heads
BIASED = layer(2 * (SQUARE + W), 2 * (SQUARE + W), 2 * W * INNER + INNER + W, 2 * W, 2 * W)
WIDE = layer(2 * (SQUARE + W), 2 * (SQUARE + W), 8 * SQUARE + 5 * W, 2 * W, 2 * W)
ONE_KEY = W * 4 + 4                 # a single head of keys, with bias
GATED = 3 * W * INNER
FAMILIES = {
    "gpt2": ({"n_inner": INNER, "n_positions": LONG}, counts(BIASED, 2 * W, LONG * W)),
    "llama": ({}, counts(layer(2 * SQUARE, 2 * SQUARE, GATED, W, W), W, tied=False)),
    "llama, shared keys": ({"num_key_value_heads": 2},
                           counts(layer(SQUARE + KV, SQUARE + KV, GATED, W, W), W, tied=False)),
    "mistral": ({"num_key_value_heads": 2},
                counts(layer(SQUARE + KV, SQUARE + KV, GATED, W, W), W, tied=False)),
    "mistral, one key": ({"num_key_value_heads": 1}, counts(
        layer(SQUARE + 4 * W, SQUARE + 4 * W, GATED, W, W), W, tied=False)),
    "qwen2": ({"num_key_value_heads": 2}, counts(
        layer(SQUARE + W + KV + W // 2, SQUARE + KV + W // 2, GATED, W, W), W, tied=False)),
    "qwen3": ({"num_key_value_heads": 2, "head_dim": 4}, counts(
        layer(SQUARE + KV, SQUARE + KV, GATED, W, W + 8), W, tied=False)),
    "gpt_neox": ({}, counts(BIASED, 2 * W, tied=False)),
    "opt": ({"ffn_dim": INNER, "word_embed_proj_dim": W, "max_position_embeddings": LONG},
            counts(BIASED, 2 * W, (LONG + 2) * W)),
    "bloom": ({}, counts(WIDE, 2 * W, more=2 * W)),
    "falcon, one key": (
        {"multi_query": True, "new_decoder_architecture": False, "bias": True, "alibi": False},
        counts(layer(SQUARE + W + ONE_KEY, ONE_KEY + SQUARE + W, 8 * SQUARE + 5 * W, 2 * W),
               2 * W)),
    "falcon, old": (
        {"multi_query": False, "new_decoder_architecture": False, "bias": True, "alibi": True,
         "parallel_attn": False}, counts(WIDE, 2 * W)),
    "falcon, new": ({"new_decoder_architecture": True, "num_kv_heads": 2},
                    counts(layer(SQUARE + KV, SQUARE + KV, 8 * SQUARE, 2 * W, 2 * W), 2 * W)),
    "gpt_bigcode, one key": (
        {"multi_query": True, "n_inner": INNER, "n_positions": LONG},
        counts(layer(SQUARE + W + ONE_KEY, ONE_KEY + SQUARE + W, 2 * W * INNER + INNER + W, 2 * W,
                     2 * W), 2 * W, LONG * W)),
    "gpt_bigcode": ({"multi_query": False, "n_inner": INNER, "n_positions": LONG},
                    counts(BIASED, 2 * W, LONG * W)),
    "rwkv": ({"attention_hidden_size": W}, counts(
        layer(2 * SQUARE, 2 * SQUARE, 2 * W * INNER + SQUARE + 2 * W, 2 * W, 2 * W, 5 * W),
        2 * W, tied=False)),
    "mamba": ({}, counts(layer(0, 0, 0, 0, W, other=2 * W * 16 + 2 * W
                               + 2 * W * 4 + 2 * W + W * 4 * W + 2 * W * 33 + 2 * W + 2 * W
                               + 2 * W * W), W)),
}
FAMILIES["rwkv"][1]["norm"] += 2 * W        # the norm before the first layer, in the first layer
FAMILIES["bloom"][1]["final_norm"] -= 2 * W    # the norm behind the token table is not the last
WORDS = ("attn", "attn_qk", "attn_vo", "mlp", "norm", "attn_norm", "final_norm", "position",
         "embed", "head", "other")


def built(family, seed, **more):
    torch.manual_seed(seed)
    settings = {**SIZES, **FAMILIES[family][0], **more}
    config = AutoConfig.for_model(family.split(",")[0], **settings)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model


def written(policy, family, **more):
    "How many numbers became the donor's, and the report."
    source, target = built(family, 0, **more), built(family, 1, **more)
    before = {n: p.detach().clone() for n, p in target.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")      # where nothing crosses, the report says so
        report = create_policy(policy).apply_state_dict(source.state_dict(), target)
    donor = named(source)
    count = 0
    for name, now in target.named_parameters():
        changed = now != before[name]
        assert torch.equal(now[changed], donor[name][changed]), name
        count += int(changed.sum())
    return count, report


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_word_is_as_many_numbers(family, word):
    wanted = FAMILIES[family][1][word]
    count, report = written({"name": "components", "keep": [word]}, family)
    assert count == report.loaded_element_count == wanted
    assert bool(report.loaded_parameter_count) == bool(wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_words_are_the_model(family):
    keep = ["attn", "mlp", "norm", "position", "embed", "head", "other"]
    count, _ = written({"name": "components", "keep": keep}, family)
    assert count == sum(FAMILIES[family][1][word] for word in keep)
    assert count == sum(p.numel() for p in built(family, 0).parameters())


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ("rwkv", "mamba")])
def test_a_head_takes_its_keys_along(family):
    "Queries of one head, and the keys that it reads, whoever else reads them."
    plain = {"bias": False} if family.startswith("falcon") else {}
    count, report = written({"name": "components", "keep": ["attn_qk"], "heads": [3],
                             "layers": [0]}, family, **plain)
    size, biased = W // HEADS, family.split(",")[0] in ("gpt2", "gpt_neox", "opt", "bloom", "qwen2",
                                                        "gpt_bigcode")
    assert count == 2 * size * (W + biased) == report.loaded_element_count


@pytest.mark.parametrize("family", ["rwkv", "mamba"])
def test_no_heads(family):
    count, report = written({"name": "components", "keep": ["attn"], "heads": [0]}, family)
    assert count == 0 == report.loaded_parameter_count
    assert all(f.why for f in report.fates)


def test_no_such_head_among_shared_ones():
    with pytest.raises(InputError, match="has 4 heads"):
        written({"name": "components", "keep": ["attn"], "heads": [4]}, "llama, shared keys")
