"""Every policy with every rule for token tables, on eight makes of model: each tensor is compared
with what the test itself says should have happened."""
from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from pptrain.transfer import create_policy

OLD, NEW, WIDTH, HEADS, LAYERS = 12, 30, 16, 4, 2


class Block(nn.Module):
    "Odd names, one fused matrix side by side."
    def __init__(self):
        super().__init__()
        self.pre_attn_ln = nn.LayerNorm(WIDTH)
        self.sa = nn.Module()
        self.sa.n_heads = HEADS
        self.sa.to_qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.sa.to_out = nn.Linear(WIDTH, WIDTH)
        self.norm_b = nn.LayerNorm(WIDTH)
        self.ff = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, WIDTH))


class Odd(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.tok = nn.Embedding(vocab, WIDTH)
        self.pos_emb = nn.Embedding(20, WIDTH)
        self.body = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.out_norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, vocab, bias=False)


class Stock(nn.Module):
    "PyTorch's own attention; the head is the token table."
    def __init__(self, vocab):
        super().__init__()
        self.words = nn.Embedding(vocab, WIDTH)
        layers = []
        for _ in range(LAYERS):
            layers.append(nn.ModuleDict({
                "ln1": nn.LayerNorm(WIDTH), "mha": nn.MultiheadAttention(WIDTH, HEADS),
                "ln2": nn.LayerNorm(WIDTH), "ffn": nn.Linear(WIDTH, WIDTH)}))
        self.stack = nn.ModuleList(layers)
        self.logits_head = nn.Linear(WIDTH, vocab, bias=False)
        self.logits_head.weight = self.words.weight


def hugging_face(kind, **settings):
    shape = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    def make(vocab):
        more = {} if kind == "mamba" else shape
        config = AutoConfig.for_model(kind, vocab_size=vocab, bos_token_id=1, eos_token_id=2,
                                      **{**shape, **more, **settings})
        return AutoModelForCausalLM.from_config(config)
    return make


# The test's own words for each make: pattern → part, first match counts; no number, no layer.
GPT2 = {r"wte|lm_head": "embed", r"wpe": "position", r"ln_1": "attn_norm", r"ln_2": "norm",
        r"ln_f": "final_norm", r"c_attn": "qkv", r"attn\.c_proj": "o", r"mlp": "mlp"}
LLAMA = {r"embed_tokens": "embed", r"lm_head": "head", r"input_layernorm": "attn_norm",
         r"post_attention_layernorm": "norm", r"model\.norm": "final_norm", r"q_proj": "q",
         r"k_proj": "k", r"v_proj": "v", r"o_proj": "o", r"mlp": "mlp"}
NEOX = {r"embed_in": "embed", r"embed_out|lm_head": "head", r"input_layernorm": "attn_norm",
        r"post_attention_layernorm": "norm", r"final_layer_norm": "final_norm",
        r"query_key_value": "qkv", r"attention\.dense": "o", r"mlp": "mlp"}
OPT = {r"embed_tokens|lm_head": "embed", r"embed_positions": "position",
       r"self_attn_layer_norm": "attn_norm", r"layers\.\d+\.final_layer_norm": "norm",
       r"final_layer_norm": "final_norm", r"q_proj": "q", r"k_proj": "k", r"v_proj": "v",
       r"out_proj": "o", r"fc\d": "mlp"}
MAMBA = {r"embeddings|lm_head": "embed", r"norm_f": "final_norm", r"\.norm\.": "norm",
         r"mixer": "other"}
ODD = {r"^tok": "embed", r"^head": "head", r"pos_emb": "position", r"pre_attn_ln": "attn_norm",
       r"norm_b": "norm", r"out_norm": "final_norm", r"to_qkv": "qkv", r"to_out": "o",
       r"\.ff\.": "mlp"}
STOCK = {r"words|logits_head": "embed", r"ln1": "attn_norm", r"ln2": "norm", r"in_proj": "qkv",
         r"out_proj": "o", r"ffn": "mlp"}

MAKES = {
    "gpt2": (hugging_face("gpt2", n_positions=20), GPT2, "columns"),
    "llama": (hugging_face("llama", num_key_value_heads=2, intermediate_size=32,
                           tie_word_embeddings=False), LLAMA, "rows"),
    "qwen2": (hugging_face("qwen2", num_key_value_heads=2, intermediate_size=32,
                           tie_word_embeddings=False), LLAMA, "rows"),
    "gpt_neox": (hugging_face("gpt_neox", intermediate_size=32), NEOX, "by head"),
    "opt": (hugging_face("opt", ffn_dim=32, word_embed_proj_dim=WIDTH,
                         max_position_embeddings=20), OPT, "rows"),
    "mamba": (hugging_face("mamba", tie_word_embeddings=True), MAMBA, "rows"),
    "odd": (Odd, ODD, "rows"),
    "stock": (Stock, STOCK, "rows"),
}
ATTENTION = {"qkv", "q", "k", "v", "o"}
PARTS_OF = {"attn": ATTENTION, "attn_qk": {"q", "k"}, "attn_vo": {"v", "o"}, "mlp": {"mlp"},
            "norm": {"attn_norm", "norm", "final_norm"}, "attn_norm": {"attn_norm"},
            "final_norm": {"final_norm"}, "position": {"position"}, "other": {"other"},
            "embed": {"embed"}, "head": {"head"}}
BODY = ("attn", "mlp", "norm", "position", "other")


def part_of(words, name):
    return next((part for pattern, part in words.items() if re.search(pattern, name)), "other")


def layer_of(name):
    number = re.search(r"\.(\d+)\.", name)
    return int(number[1]) if number else None


def role_mask(part, layout, tensor, roles):
    "True where a number of a fused or single attention tensor belongs to one of `roles`."
    mask = torch.zeros(tensor.shape, dtype=torch.bool)
    if part != "qkv":
        mask[:] = part in roles
        return mask
    axis = 1 if layout == "columns" and tensor.ndim == 2 else 0
    rows = torch.arange(3 * WIDTH)
    if layout == "by head":
        role = (rows // (WIDTH // HEADS)) % 3
    else:
        role = rows // WIDTH
    chosen = torch.tensor([word in roles for word in "qkv"])[role]
    return mask | (chosen if axis or tensor.ndim == 1 else chosen[:, None])


def build(make, seed, vocab):
    torch.manual_seed(seed)
    model = MAKES[make][0](vocab)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + torch.rand(1)).add_(.05 * torch.randn(parameter.shape))
    return model


def tensors(model):
    return {n: p.detach().clone() for n, p in model.named_parameters(remove_duplicate=False)}


def expected_table(rule, old, new):
    "What a rule makes of a table; None where only properties are known."
    if rule == "fresh":
        return new
    if rule == "mean":
        return old.mean(0, keepdim=True).expand_as(new)
    if rule == "match":
        rest = old.mean(0, keepdim=True).expand(len(new) - len(old), old.shape[1])
        return torch.cat([old, rest])
    if rule == "copy":
        return old if old.shape == new.shape else new
    if rule == "scaled":
        return new * (old.std(correction=0) / new.std(correction=0))
    return None


def check_table(rule, old, new, now):
    known = expected_table(rule, old, new)
    if known is not None:
        error = 0 if rule in ("fresh", "copy") else 1e-4
        assert torch.allclose(now, known, rtol=error, atol=error / 100)
    elif rule == "fresh(0.5)":
        assert .35 < now.std() < .65 and abs(now.mean()) < .2
    else:       # sampled: 30 rows scatter about the old mean as widely as the old rows do
        assert abs(now.mean() - old.mean()) < .5 * old.std() + .05
        assert .5 < now.std() / old.std() < 1.7


def check_everything(make, policy, keep, layers, rule, moved):
    "`moved(part, old, new, now)` checks a tensor that the policy should have touched whole."
    words, layout = MAKES[make][1:]
    source, target = build(make, 0, OLD), build(make, 1, NEW)
    old, new = tensors(source), tensors(target)
    report = policy.apply_state_dict(source.state_dict(), target)
    now = tensors(target)
    wanted = set().union(*(PARTS_OF[word] for word in keep))
    touched = 0
    for name in now:
        part = part_of(words, name)
        if part in ("embed", "head") and part not in wanted:
            check_table(rule, old[name], new[name], now[name])
            continue
        inside = layers is None or layer_of(name) in layers
        if not inside or not part == "qkv" and part not in wanted:
            assert torch.equal(now[name], new[name]), name
            continue
        roles = wanted & ATTENTION | ({"q", "k", "v"} if "qkv" in wanted else set())
        mask = role_mask(part, layout, now[name], roles) if part in ATTENTION else None
        if mask is not None and not mask.all():
            assert torch.equal(now[name][~mask], new[name][~mask]), name
            assert torch.equal(now[name][mask], old[name][mask]), name
            touched += int(mask.any())
        elif old[name].shape == new[name].shape:
            moved(part, old[name], new[name], now[name])
            touched += 1
        else:
            assert torch.equal(now[name], new[name]), name
    listed = report.loaded_parameter_count + len(report.filled_parameters)
    assert bool(listed) == bool(touched or rule != "fresh" and rule != "copy")
    again = tensors(target)
    policy.apply_state_dict(source.state_dict(), target)
    assert all(torch.equal(p, again[n]) for n, p in tensors(target).items())   # twice = once


def copied(part, old, new, now):
    assert torch.equal(now, old)


def same_histogram(part, old, new, now):
    assert torch.equal(now.flatten().sort()[0], old.flatten().sort()[0])
    assert len(old.unique()) < 5 or not torch.equal(now, old)


def same_length(part, old, new, now):
    assert torch.allclose(now.norm(), old.norm(), rtol=1e-4)
    assert torch.equal(now, old) == (old.ndim == 1)


def same_length_in_attention(part, old, new, now):
    assert torch.allclose(now.norm(), old.norm(), rtol=1e-4)
    assert torch.equal(now, old) != (part in ATTENTION and old.ndim > 1)


def same_statistics(part, old, new, now):
    n = old.numel() ** .5
    spread = old.std(correction=0)
    assert abs(now.mean() - old.mean()) < 5 * spread / n + 1e-4
    assert abs(now.std(correction=0) - spread) < 4 * spread / n + 1e-4


def scale_only(part, old, new, now):
    if part in ("norm", "attn_norm", "final_norm"):
        assert torch.allclose(now, old.mean().expand_as(now))
    else:
        spread = old.std(correction=0)
        assert abs(now.std(correction=0) - spread) < 4 * spread / old.numel() ** .5 + 1e-4


POLICIES = {
    "components": ({"keep": ["attn", "mlp"]}, ("attn", "mlp"), None, copied),
    "components attn_qk": ({"keep": ["attn_qk"]}, ("attn_qk",), None, copied),
    "components attn_vo": ({"keep": ["attn_vo"]}, ("attn_vo",), None, copied),
    "components attn+ln": ({"keep": ["attn", "attn_norm"]}, ("attn", "attn_norm"), None, copied),
    "components last": ({"keep": ["attn", "mlp", "norm", "other"], "layers": "-1:"},
                        ("attn", "mlp", "norm", "other"), [1], copied),
    "components first": ({"keep": ["norm"], "layers": [0]}, ("norm",), [0], copied),
    "reinitialize_embeddings": ({}, BODY, None, copied),
    "statistics": ({}, BODY, None, same_statistics),
    "statistics scale": ({"level": "scale"}, BODY, None, scale_only),
    "layer_shuffled": ({}, BODY, None, same_histogram),
    "random_weights": ({}, BODY, None, same_length),
    "random_heads": ({}, BODY, None, same_length_in_attention),
}
RULES = ("fresh", "fresh(0.5)", "scaled", "mean", "match", "copy", "sampled")


QUICK = [(words, rule) for words in POLICIES for rule in RULES
         if rule in ("fresh", "scaled") or words == "reinitialize_embeddings"]
THOROUGH = [(words, rule) for words in POLICIES for rule in RULES if (words, rule) not in QUICK]


@pytest.mark.filterwarnings("ignore:policy")
@pytest.mark.parametrize("words, rule", [
    *QUICK, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in THOROUGH)])
@pytest.mark.parametrize("make", MAKES)
def test_every_tensor(make, words, rule):
    options, keep, layers, moved = POLICIES[words]
    if make == "mamba" and words == "random_heads":
        moved = copied
    policy = create_policy(words.split()[0], embeddings=rule, **options)
    check_everything(make, policy, keep, layers, rule, moved)


@pytest.mark.parametrize("make", [make for make in MAKES if make != "mamba"])
def test_one_head(make):
    "Scores of one head are the donor's when its queries and keys crossed, and no row else moved."
    words, layout = MAKES[make][1:]
    source, target = build(make, 0, NEW), build(make, 1, NEW)
    old, new = tensors(source), tensors(target)
    policy = create_policy("components", keep=["attn"], heads=[1], layers=[0])
    policy.apply_state_dict(source.state_dict(), target)
    size = WIDTH // HEADS
    for name, now in tensors(target).items():
        part = part_of(words, name)
        changed = (now != new[name])
        assert torch.equal(now[changed], old[name][changed]), name
        if part not in ATTENTION or layer_of(name) != 0 or part == "o" and now.ndim == 1:
            assert not changed.any(), name
        elif part == "q" or part == "o":
            axis = int(part == "o" and layout != "columns")
            rows = changed.any(1 - axis) if now.ndim > 1 else changed
            assert rows.nonzero().flatten().tolist() == list(range(size, 2 * size))
        elif part == "qkv":
            axis = 1 if layout == "columns" and now.ndim == 2 else 0
            rows = changed.any(1 - axis) if now.ndim > 1 else changed
            starts = [size + n * WIDTH for n in range(3)]
            if layout == "by head":
                starts = [3 * size + n * size for n in range(3)]
            assert rows.nonzero().flatten().tolist() == [s + i for s in starts for i in range(size)]


@pytest.mark.parametrize("rule", ["copy", "match", "fresh"])
@pytest.mark.parametrize("make", MAKES)
def test_tables_of_one_size(make, rule):
    source, target = build(make, 0, OLD), build(make, 1, OLD)
    old, new = tensors(source), tensors(target)
    create_policy("reinitialize_embeddings", embeddings=rule).apply_state_dict(
        source.state_dict(), target)
    for name, now in tensors(target).items():
        if part_of(MAKES[make][1], name) in ("embed", "head"):
            assert torch.equal(now, new[name] if rule == "fresh" else old[name])
