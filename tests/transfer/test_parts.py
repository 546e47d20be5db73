"""What a layer is says what part it plays, in transformers' decoders and in own models."""
from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from pptrain.integrations import parts
from pptrain.transfer import create_policy

SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "vocab_size": 64, "num_key_value_heads": 4, "head_dim": 8, "max_position_embeddings": 64,
    "n_embd": 32, "n_layer": 2, "n_head": 4, "d_model": 32, "n_layers": 2, "n_heads": 4,
    "ffn_dim": 64, "d_inner": 64, "num_local_experts": 2, "num_experts": 2, "pad_token_id": 0}
DECODERS = (
    "gpt2 gpt_neo gpt_neox gptj opt bloom mpt codegen falcon ctrl xglm biogpt persimmon stablelm "
    "llama mistral mixtral qwen3 qwen3_moe gemma2 olmo2 phi granitemoe jetmoe starcoder2 rwkv "
    "mamba xlnet bert megatron-bert roberta-prelayernorm").split()


def decoder(kind):
    "A small one of that type, without memory."
    fields = AutoConfig.for_model(kind).to_dict()
    config = AutoConfig.for_model(kind, **{k: v for k, v in SMALL.items() if k in fields})
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("kind", DECODERS)
def test_decoders_of_transformers(kind):
    model = decoder(kind)
    part = parts(model)
    for name, module in model.named_modules():
        own = {f"{name}.{leaf}" for leaf, _ in module.named_parameters(recurse=False)}
        if type(module).__name__.lower().endswith("norm") and not list(module.children()):
            assert {part[leaf] for leaf in own} <= {"norm"}, name
    inside = [name for name in part if any(step.isdigit() for step in name.split("."))]
    played = {part[name] for name in inside}
    assert "norm" in played and played >= ({"other"} if kind == "mamba" else {"attn", "mlp"})
    if kind != "mamba":
        assert "other" not in played, [name for name in inside if part[name] == "other"]


class Root(nn.Module):
    "A norm by no known type."

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(8))


class Steered(nn.Module):
    "Attention of one's own."

    def __init__(self):
        super().__init__()
        self.key, self.mix = nn.Linear(8, 8), nn.Linear(8, 8)


class AttentionBlock(nn.Module):
    "A whole block, whatever its type is called."

    def __init__(self, names):
        super().__init__()
        layers = (nn.LayerNorm(8), nn.MultiheadAttention(8, 2), Root(),
                  nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)))
        for name, layer in zip(names, layers):
            setattr(self, name, layer)


@pytest.mark.parametrize("names", [
    ("ln1", "attn", "norm2", "ff"), ("ln_1", "sa", "ln_2", "ffwd"), ("n1", "mix", "norm", "ffn"),
    ("attn_norm", "self_attention", "mlp_norm", "mlp"), ("a", "heads", "rms_2", "feed_forward"),
    ("pre_ln", "mha", "ffn_norm", "fforward_mlp"), ("ln_attn", "att", "norm_mlp", "ff_net"),
    ("layernorm", "xattn", "LayerNorm2", "FeedForward"),
])
def test_blocks_of_one_s_own(names):
    def whole():
        model = nn.ModuleDict({"tokens": nn.Embedding(9, 8), "blocks": nn.ModuleList()})
        model["blocks"].append(AttentionBlock(names))
        for parameter in model.parameters():
            nn.init.normal_(parameter)
        return model
    source = whole().state_dict()
    for part, wanted in (("norm", {0, 2}), ("attn", {1}), ("mlp", {3})):
        model = whole()
        create_policy("components", keep=[part]).apply_state_dict(source, model)
        arrived = {n for n, p in model.named_parameters() if torch.equal(p, source[n])}
        right = {f"blocks.0.{names[k]}." for k in wanted}
        assert arrived == {n for n in source if any(n.startswith(prefix) for prefix in right)}


def test_type_before_name():
    model = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict(
        {"first": nn.RMSNorm(8), "second": nn.MultiheadAttention(8, 2), "attention": Steered()})])})
    part = parts(model)
    assert part["layers.0.first.weight"] == "norm"
    assert part["layers.0.second.in_proj_weight"] == part["layers.0.attention.mix.weight"] == "attn"
