"""Measuring leaves no trace: weights, gradients, modes, hooks, configs and random states stay, a
model can be pickled as before, and the same question has the same answer."""
from __future__ import annotations

import hashlib
import math
import pickle
import random

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from pptrain.data import Example
from pptrain.measure import (
    cka_map, copying_score, divergences, exact_match, induction_score, loss_by_frequency,
    loss_by_position, midlayer_cka, perplexity, registered_measures, weight_distance)

IDS = 30
SIZES = dict(vocab_size=IDS, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
             intermediate_size=16, max_position_embeddings=64)


def decoder(kind: str = "gpt2") -> nn.Module:
    torch.manual_seed(0)
    gpt2 = dict(vocab_size=IDS, n_positions=64, n_embd=16, n_layer=2, n_head=2)
    return AutoModelForCausalLM.from_config(
        AutoConfig.for_model(kind, **gpt2 if kind == "gpt2" else SIZES))


class Own(nn.Module):
    "Nobody's model: dropout, blocks in a list, no config."

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.drop = nn.Embedding(IDS, 16), nn.Dropout(.5)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, .3, batch_first=True) for _ in range(2))

    def forward(self, input_ids, attention_mask=None):
        states = self.drop(self.embed(input_ids))
        length = states.shape[1]
        later = torch.full((length, length), -math.inf, dtype=states.dtype).triu(1)
        for block in self.blocks:
            states = block(states, src_mask=later)
        return {"logits": states @ self.embed.weight.T}


def half_trained() -> nn.Module:
    "In training mode but for a block, with gradients, a part of it frozen."
    model = decoder().train()
    model(input_ids=torch.arange(6)[None], labels=torch.arange(6)[None]).loss.backward()
    model.transformer.h[0].eval().requires_grad_(False)
    return model


def transposed() -> nn.Module:
    "Weights that are not contiguous in memory."
    model = decoder()
    for block in model.transformer.h:
        weight = block.mlp.c_fc.weight
        block.mlp.c_fc.weight = nn.Parameter(weight.detach().T.contiguous().T)
    return model


def compiled_in_place() -> nn.Module:
    model = decoder("llama")
    model.compile(backend="eager")
    return model


MODELS = {
    "half trained": half_trained, "llama": lambda: decoder("llama"), "own": lambda: Own().train(),
    "bfloat16": lambda: decoder().bfloat16(), "float64": lambda: decoder().double(),
    "not contiguous": transposed, "parallel": lambda: nn.DataParallel(decoder()),
    "compiled": lambda: torch.compile(decoder(), backend="eager"),
    "compiled in place": compiled_in_place}


def rows() -> list[Example]:
    rng = np.random.default_rng(0)
    return [Example(rng.integers(IDS, size=n), np.arange(n) >= n // 2, {"op": str(n % 2)})
            for n in (3, 9, 17, 5, 2)]


MEASURES = {
    "perplexity": perplexity, "exact match": exact_match, "by position": loss_by_position,
    "by frequency": loss_by_frequency, "accuracy": registered_measures()["accuracy"],
    "rank": registered_measures()["effective_rank"],
    "map": lambda model, rows: cka_map(model, decoder("llama"), rows, draws=2).values,
    "middle": lambda model, rows: midlayer_cka([model, decoder()], rows, draws=2),
    "divergence": lambda model, rows: divergences([model, decoder()], rows),
    "distance": lambda model, rows: weight_distance(model, model),
    "heads": lambda model, rows: induction_score(model, count=3),
    "copying": lambda model, rows: copying_score(model, count=3)}


def state_of(model: nn.Module) -> str:
    "A hash over all that a measure could have touched."
    seen = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        grad = None if tensor.grad is None else tensor.grad.sum().item()
        told = name, tensor.dtype, tensor.stride(), tensor.requires_grad, grad
        seen.update(repr(told).encode() + tensor.detach().double().numpy().tobytes())
    for name, module in model.named_modules():
        config = getattr(module, "config", None)
        told = (name, module.training, sorted(vars(module)), len(module._forward_hooks),
                len(module._forward_pre_hooks), config and (config, config._attn_implementation))
        seen.update(repr(told).encode())
    return seen.hexdigest()


def random_states() -> tuple:
    return (torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate(),
            torch.is_grad_enabled(), torch.get_default_dtype())


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("kind", MODELS)
def test_all_is_as_it_was_and_so_is_the_answer(kind, measure):
    if (kind, measure) == ("own", "heads"):
        pytest.skip("it gives no attention maps, and that is said")
    model, measured, held = MODELS[kind](), MEASURES[measure], rows()
    MEASURES[measure](decoder(), held)          # what is only made once is made
    before, drawn = state_of(model), random_states()
    first = measured(model, held)
    assert state_of(model) == before and random_states() == drawn
    assert str(measured(model, held)) == str(first)


@pytest.mark.parametrize("measure", ["map", "middle", "rank", "heads"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_model_whose_states_were_read_can_still_be_pickled(kind, measure):
    model = decoder(kind)
    MEASURES[measure](model, rows())
    again = pickle.loads(pickle.dumps(model))
    assert state_of(again) == state_of(model)


def test_hooks_of_the_user_stay():
    model = decoder()
    seen = []
    hook = model.transformer.h[0].register_forward_hook(lambda *given: seen.append(1))
    model(input_ids=torch.arange(5)[None], output_hidden_states=True)    # transformers' own, too
    before, calls = state_of(model), len(seen)
    cka_map(model, decoder("llama"), rows(), draws=1)
    assert state_of(model) == before and len(seen) > calls
    hook.remove()
