"""Rows, models and options that are none: each measure says which one, in one clear sentence."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from pptrain import InputError, create_task
from pptrain.data import Example
from pptrain.measure import (
    cka_map, copying_score, create_measure, divergences, exact_match, induction_score,
    loss_by_frequency, loss_by_position, midlayer_cka, perplexity, registered_measures,
    token_counts)

IDS, CONTEXT = 30, 64


def small(**fields) -> nn.Module:
    torch.manual_seed(0)
    sizes = dict(vocab_size=IDS, n_positions=CONTEXT, n_embd=16, n_layer=2, n_head=2)
    return GPT2LMHeadModel(GPT2Config(**sizes | fields)).eval()


READERS = {
    "perplexity": perplexity, "exact_match": exact_match, "by position": loss_by_position,
    "by frequency": loss_by_frequency, "accuracy": registered_measures()["accuracy"],
    "rank": registered_measures()["effective_rank"],
    "map": lambda model, rows, **o: cka_map(model, small(), rows, draws=1, **o),
    "middle": lambda model, rows, **o: midlayer_cka([model, small()], rows, draws=1, **o),
    "divergence": lambda model, rows, **o: divergences([model, small()], rows, **o)}


def held() -> list[Example]:
    rng = np.random.default_rng(0)
    return [Example(rng.integers(IDS, size=n), np.ones(n)) for n in (5, 9, 17)]


class GivesTuples(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(IDS, 4)
        self.blocks = nn.ModuleList([nn.Linear(4, 4)])

    def forward(self, input_ids, attention_mask=None):
        return (self.blocks[0](self.embed(input_ids)) @ self.embed.weight.T,)


class TakesIdsAlone(GivesTuples):
    def forward(self, input_ids):
        return {"logits": super().forward(input_ids)[0]}


with torch.device("meta"):
    HOLLOW = small()

ROWS = {
    "none": None, "text": "abc", "a mapping": {"input_ids": [1, 2]}, "whole numbers": [1, 2, 3],
    "lists": [[1, 2, 3]], "nothing in it": [None], "fractions": [{"input_ids": [.5, 1.]}],
    "no token": [Example([], [])], "an id too high": [Example([1, 2, 99], [1, 1, 1])],
    "an id below zero": [Example([1, 2, -3], [1, 1, 1])], "rows": iter(held()),
    "too long": [Example(np.ones(CONTEXT + 1, int), np.ones(CONTEXT + 1))],
    "a batch axis": [{"input_ids": torch.ones(2, 3).long()}],
    "unequal": [{"input_ids": [1, 2, 3], "labels": [1, 2]}]}


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("reader", READERS)
def test_rows_that_are_none_are_refused_by_name(reader, rows):
    with pytest.raises(InputError, match="row") as refusal:
        READERS[reader](small(), ROWS[rows])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("model", [None, "gpt2", nn.Linear, nn.Linear(3, 3), GivesTuples(), HOLLOW,
                                   TakesIdsAlone()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("reader", READERS)
def test_a_model_that_cannot_be_asked_is_refused(reader, model):
    if isinstance(model, GivesTuples) and reader in ("rank", "map", "middle"):
        pytest.skip("its blocks are seen, whatever it gives")
    with pytest.raises(InputError) as refusal:
        READERS[reader](model, held())
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("size", [0, -1, 1.5, "4", None, True])
@pytest.mark.parametrize("reader", READERS)
def test_a_batch_size_is_a_whole_number(reader, size):
    with pytest.raises(InputError, match="batch_size"):
        READERS[reader](small(), held(), batch_size=size)


def test_rows_without_labels_lose_on_what_is_attended_and_nowhere_else():
    bare = [{"input_ids": [4, 5, 6, 0, 0], "attention_mask": [1, 1, 1, 0, 0]}]
    spelt = [Example([4, 5, 6], [1, 1, 1])]
    for reader in ("perplexity", "exact_match", "divergence"):
        there, here = READERS[reader](small(), bare), READERS[reader](small(), spelt)
        if reader == "divergence":
            there, here = there.to_dict("list"), here.to_dict("list")
        assert str(there) == str(here), reader
    assert token_counts(bare).tolist() == token_counts(spelt).tolist()


@pytest.mark.parametrize("rows", [None, "abc", [1], [None], [Example([1, -2], [1, 1])],
                                  create_task("dyck", preset="smoke")])
def test_only_rows_are_counted(rows):
    with pytest.raises(InputError, match="row"):
        token_counts(rows)


def test_heads_of_a_diverged_model_have_no_score():
    broken = small()
    nn.init.constant_(broken.transformer.h[1].attn.c_attn.weight, float("nan"))
    for model, why in ((broken, "diverged"), (HOLLOW, "meta"), (TakesIdsAlone(), "attention")):
        with pytest.raises(InputError, match=why):
            induction_score(model)


def test_what_is_copied_is_asked_of_a_decoder_that_has_not_diverged():
    broken = small()
    nn.init.constant_(broken.transformer.h[1].attn.c_attn.weight, float("nan"))
    for model, why in ((broken, "diverged"), (HOLLOW, "meta"), (nn.Linear(2, 2), "token")):
        with pytest.raises(InputError, match=why):
            copying_score(model)


@pytest.mark.parametrize("models", [[], [small()], small(), None, "gpt2", 3, [small(), None]],
                         ids=lambda m: type(m).__name__)
def test_a_comparison_needs_two_models(models):
    for compare in (midlayer_cka, divergences):
        with pytest.raises(InputError, match="models"):
            compare(models, held())


OPTIONS = {"sums": ["count"], "algebra": ["count"], "summary_loss": ["count"],
           "grammar": ["pairs", "phenomena"], "induction": ["period", "count"],
           "copying": ["period", "count"],
           "effective_rank": ["positions"], "loss_by_position": ["bins"],
           "loss_by_frequency": ["bins"]}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("value", [0, -1, "x", 1.5, True, [3, 2]], ids=str)
def test_options_of_a_measure_are_refused_before_any_work(name, value):
    for option in OPTIONS[name]:
        with pytest.raises(InputError):
            create_measure({"name": name, option: value})
