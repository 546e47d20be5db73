"""Modules under names that nobody here chose: heads that share, fused orders, heads one by one."""
from __future__ import annotations

import dataclasses
import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pptrain.integrations import named, pieces
from pptrain.transfer import create_policy

IDS, WIDTH, HEADS, LONG = 24, 16, 4, 12
SIZE = WIDTH // HEADS


class Attention(nn.Module):
    "Linear layers by name and number of outputs; `word` says how many heads there are."
    def __init__(self, word, rows):
        super().__init__()
        setattr(self, word, HEADS)
        for name, count in rows.items():
            self.add_module(name, nn.Linear(WIDTH, count))


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(WIDTH, SIZE) for _ in range(3))


class Lecture(nn.Module):
    "Every head is a module."
    def __init__(self):
        super().__init__()
        self.heads, self.proj = nn.ModuleList(Head() for _ in range(HEADS)), nn.Linear(WIDTH, WIDTH)


KINDS = {
    "grouped": lambda: Attention("heads", dict(wq=16, wk=8, wv=8, wo=16)),
    "one key, fused": lambda: Attention("n_head", dict(c_attn=24, c_proj=16)),
    "pairs": lambda: Attention("heads", dict(to_q=16, to_kv=32, to_out=16)),
    "keys first": lambda: Attention("num_heads", dict(kqv_proj=48, out=16)),
    "lecture": Lecture,
}
# Rows of scores and of results of head 2, by parameter; in `o` columns.
HEAD_2 = {
    "grouped": {"wq": (8, 12, "qk"), "wk": (4, 8, "qk"), "wv": (4, 8, "vo"), "wo": (8, 12, "vo")},
    "one key, fused": {"c_attn": [(8, 12, "qk"), (16, 20, "qk"), (20, 24, "vo")],
                       "c_proj": (8, 12, "vo")},
    "pairs": {"to_q": (8, 12, "qk"), "to_kv": [(8, 12, "qk"), (24, 28, "vo")],
              "to_out": (8, 12, "vo")},
    "keys first": {"kqv_proj": [(8, 12, "qk"), (24, 28, "qk"), (40, 44, "vo")],
                   "out": (8, 12, "vo")},
    "lecture": {"heads.2.query": (0, 4, "qk"), "heads.2.key": (0, 4, "qk"),
                "heads.2.value": (0, 4, "vo"), "proj": (8, 12, "vo")},
}
OUTPUTS = {"wo", "c_proj", "to_out", "out", "proj"}


class Block(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.ln1, self.sa, self.ln2 = nn.LayerNorm(WIDTH), KINDS[kind](), nn.LayerNorm(WIDTH)
        self.ff = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, WIDTH))


class Odd(nn.Module):
    "Positions come first; the output layer has a name of its own."
    def __init__(self, kind="grouped", output="output", tie=False, ids=IDS, long=LONG, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.pos, self.tok = nn.Embedding(long, WIDTH), nn.Embedding(ids, WIDTH)
        self.layers = nn.ModuleList(Block(kind) for _ in range(2))
        self.ln_f = nn.LayerNorm(WIDTH)
        self.add_module(output, nn.Linear(WIDTH, ids, bias=False))
        if tie:
            getattr(self, output).weight = self.tok.weight
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(torch.randn(parameter.shape))


def numbers(model):
    return {name: p.detach().clone() for name, p in named(model).items()}


@pytest.mark.parametrize("half", ["qk", "vo"])
@pytest.mark.parametrize("kind", KINDS)
def test_half_a_head_is_these_rows(kind, half):
    source, target = Odd(kind), Odd(kind, seed=1)
    old, new = numbers(source), numbers(target)
    policy = create_policy("components", keep=[f"attn_{half}"], heads=[2], layers=[1])
    policy.apply_state_dict(source.state_dict(), target)
    for name, now in numbers(target).items():
        mask = torch.zeros_like(now, dtype=torch.bool)
        for word, spans in HEAD_2[kind].items():
            axis = int(word in OUTPUTS)
            if not name.startswith(f"layers.1.sa.{word}.") or axis and now.ndim == 1:
                continue
            for start, end, of in spans if isinstance(spans, list) else [spans]:
                if of == half:
                    mask.narrow(axis, start, end - start).fill_(True)
        assert torch.equal(now, torch.where(mask, old[name], new[name])), name


@pytest.mark.parametrize("output", ["output", "decoder", "generator", "fc_out", "to_logits", "W_U"])
@pytest.mark.parametrize("tie", [False, True])
def test_the_tables_are_known_by_their_shapes(output, tie):
    "Same sizes on both sides: only a model that knows its output layer leaves it alone."
    source, target = Odd(output=output), Odd(output=output, tie=tie, seed=1)
    old, new = numbers(source), numbers(target)
    create_policy("reinitialize_embeddings").apply_state_dict(source.state_dict(), target)
    for name, now in numbers(target).items():
        fresh = name in ("tok.weight", f"{output}.weight")
        assert torch.equal(now, new[name] if fresh else old[name]), name
    part = {name: found[0].part for name, found in pieces(target).items()}
    assert part["tok.weight"] == "embed" and part["pos.weight"] == "position"


@pytest.mark.parametrize("name", [
    "copy", "reinitialize_embeddings", "statistics", "layer_shuffled"])
@pytest.mark.parametrize("long", [8, 16])
def test_positions_with_an_axis_in_front(name, long):
    def made(long, seed):
        model = Odd(seed=seed)
        del model.pos
        model.pos_emb = nn.Parameter(torch.randn(1, long, WIDTH))
        return model
    source, target = made(LONG, 0), made(long, 1)
    old, new = (m.pos_emb.detach().clone() for m in (source, target))
    report = create_policy(name).apply_state_dict(source.state_dict(), target)
    now, both = target.pos_emb, min(long, LONG)
    assert torch.equal(now[:, both:], new[:, both:])
    if name == "copy":
        assert torch.equal(now, new) and "pos_emb" in report.skipped_parameters
        return
    assert not torch.equal(now[:, :both], new[:, :both])
    assert torch.equal(now[:, :both], old[:, :both]) == (name == "reinitialize_embeddings")
    assert {f.elements for f in report.fates if f.name == "pos_emb"} == {both * WIDTH}


def test_a_half_that_is_not_told_apart_says_so():
    def made(seed):
        torch.manual_seed(seed)
        return nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict(
            {"attn": Attention("n_head", dict(query_key_value=48, dense=16))})])})
    report = create_policy("components", keep=["attn_vo"]).apply_state_dict(
        made(0).state_dict(), made(1))
    fused = [f for f in report.fates if "query_key_value" in f.name]
    assert {f.why for f in fused} == {"attn, but of neither half that is known"}
    assert {f.outcome for f in fused} == {"fresh"}


def attending(**sizes):
    "One layer with torch's attention."
    model = nn.Module()
    model.tok, model.layers = nn.Embedding(9, 16), nn.ModuleList([nn.Module()])
    model.layers[0].self_attn = nn.MultiheadAttention(16, 4, **sizes)
    model.layers[0].cross_attn = nn.MultiheadAttention(16, 4)
    return model


def test_keys_of_another_width():
    "Matrices of their own for queries, keys and values, called `q_proj_weight` and so on."
    found = pieces(attending(kdim=8, vdim=8))
    for role in "qkv":
        mine = found[f"layers.0.self_attn.{role}_proj_weight"]
        assert [(p.role, p.heads) for p in mine] == [(role, (n,)) for n in range(4)]


def test_two_attentions_in_a_layer_are_written_each_by_itself():
    model = attending()
    create_policy("mimetic").apply_state_dict({}, model)
    for attention in (model.layers[0].self_attn, model.layers[0].cross_attn):
        q, k, v = attention.in_proj_weight.detach().chunk(3)
        for head in range(4):
            rows = slice(4 * head, 4 * head + 4)
            assert (q[rows].T @ k[rows]).diagonal().mean() > .2
        assert (attention.out_proj.weight @ v).diagonal().mean() < -.3


def test_attention_that_does_not_fit_together_stays():
    "Keys of another width than queries have no product near the identity."
    model = attending(kdim=8, vdim=8)
    nn.init.ones_(model.layers[0].self_attn.in_proj_bias)
    before = numbers(model)
    report = create_policy("mimetic").apply_state_dict({}, model)
    for name, now in numbers(model).items():
        assert torch.equal(now, before[name]) or "cross_attn" in name, name
    why = {f.name: (f.outcome, f.elements, f.why) for f in report.fates}
    assert why["layers.0.self_attn.q_proj_weight"] == (
        "fresh", 0, "its attention does not fit together")


def test_a_layer_without_such_a_tensor_is_not_named_as_its_donor():
    def uneven(seed):
        torch.manual_seed(seed)
        model = nn.Module()
        model.tok, model.layers = nn.Embedding(9, 8), nn.ModuleList()
        for n in range(3):
            model.layers.append(nn.ModuleDict({"norm": nn.LayerNorm(8)}))
            model.layers[n]["mlp" if n else "attn"] = nn.Linear(8, 8)
        return model
    source, told = uneven(0), set()
    for seed in range(4):
        target = uneven(1)
        report = create_policy("layer_shuffled", order="layers", seed=seed).apply_state_dict(
            source.state_dict(), target)
        for name, why in ((f.name, f.why) for f in report.fates if f.name.startswith("layers")):
            (layer,), now = re.findall(r"layer (\d)", why), target.state_dict()[name]
            theirs = re.sub(r"\d", layer, name, count=1)
            told.add(why)
            assert why.endswith("has none") == (theirs not in source.state_dict())
            assert torch.equal(now, source.state_dict().get(theirs, source.state_dict()[name]))
    assert "layer 1 has none" in told and "of layer 1" in told


def test_a_config_whose_layers_differ_names_no_number_of_heads():
    class Config:
        model_type = "own"
        num_attention_heads = 4

        @property
        def num_key_value_heads(self):
            raise RuntimeError("may vary across layers")
    model = attending()
    config = dataclasses.dataclass(type("Own", (Config,), {"__annotations__": {
        "num_attention_heads": int, "num_key_value_heads": int}}))
    model.config = object.__new__(config)
    model.layers[0].plain_attn = nn.ModuleDict({r: nn.Linear(16, 16) for r in "qkvo"})
    heads = [piece.heads for piece in pieces(model)["layers.0.plain_attn.k.weight"]]
    assert heads == [(0,), (1,), (2,), (3,)]


def test_an_attention_that_counts_its_heads_does_not_share_those_of_the_config():
    "As the linear layers of hybrid models, and towers for pictures, do."
    model = attending()
    model.config = SimpleNamespace(model_type="own", num_attention_heads=4, num_key_value_heads=2)
    for name in ("counted", "silent"):
        attention = nn.ModuleDict({r: nn.Linear(16, 16) for r in "qkvo"})
        model.layers[0].add_module(f"{name}_attn", attention)
    model.layers[0].counted_attn.num_heads = 4
    found = pieces(model)
    assert [p.heads for p in found["layers.0.counted_attn.k.weight"]] == [(n,) for n in range(4)]
    assert [p.heads for p in found["layers.0.silent_attn.k.weight"]] == [(0, 1), (2, 3)]
