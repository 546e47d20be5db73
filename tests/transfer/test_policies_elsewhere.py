"""Every policy with every rule for token tables on makes that no list of ours names: what belongs
to whom is said here from transformers' own modelling code, number by number."""
from __future__ import annotations

import re
import warnings

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from pptrain.transfer import create_policy

OLD, NEW, WIDTH, HEADS, LAYERS, LONG = 12, 30, 16, 4, 3, 20
PLAIN = dict(hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
             intermediate_size=24, max_position_embeddings=LONG)
SHARED = {**PLAIN, "num_key_value_heads": 2}
GPT = dict(n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=LONG, n_inner=24)


def decoder(kind, **settings):
    def make(ids, **more):
        torch.manual_seed(7)
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(
            kind, vocab_size=ids, bos_token_id=1, eos_token_id=2, pad_token_id=0,
            **{**settings, **more}))
    return make


# --- three that nobody made for pptrain


class Turned(nn.Module):
    "A matrix as GPT-2 keeps it: inputs first."
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(.1 * torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))


Conv1D = type("Conv1D", (Turned,), {})


class Stage(nn.Module):
    "Queries, keys and values in one turned matrix; gate and up in one."
    def __init__(self):
        super().__init__()
        self.prenorm_a, self.prenorm_b = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.self_attn = nn.Module()
        self.self_attn.n_heads = HEADS
        self.self_attn.qkv, self.self_attn.proj = Conv1D(WIDTH, 3 * WIDTH), Conv1D(WIDTH, WIDTH)
        self.mlp = nn.Module()
        self.mlp.gate_up = nn.Linear(WIDTH, 48, bias=False)
        self.mlp.down = nn.Linear(24, WIDTH, bias=False)


class Staged(nn.Module):
    def __init__(self, ids):
        super().__init__()
        torch.manual_seed(7)
        self.vocab_in = nn.Embedding(ids, WIDTH)
        self.pos_table = nn.Embedding(LONG, WIDTH)
        self.stages = nn.ModuleList(Stage() for _ in range(LAYERS))
        self.closing = nn.RMSNorm(WIDTH)
        self.to_logits = nn.Linear(WIDTH, ids)


class Cell(nn.Module):
    "Two query heads for each head of keys; norms behind, as in OLMo 2."
    def __init__(self):
        super().__init__()
        self.attention = nn.Module()
        self.attention.num_heads, self.attention.num_kv_heads = HEADS, 2
        for name, rows in dict(Wq=16, Wk=8, Wv=8, Wo=16).items():
            self.attention.add_module(name, nn.Linear(WIDTH, rows, bias=name == "Wq"))
        self.norm_after_attention, self.norm_after_mlp = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.feed_forward = nn.Sequential(nn.Linear(WIDTH, 24), nn.SiLU(), nn.Linear(24, WIDTH))


class Celled(nn.Module):
    "Tied; lies inside another module."
    def __init__(self, ids):
        super().__init__()
        torch.manual_seed(7)
        self.net = nn.Module()
        self.net.lookup = nn.Embedding(ids, WIDTH)
        self.net.trunk = nn.ModuleDict({"cells": nn.ModuleList(Cell() for _ in range(LAYERS))})
        self.net.last_ln = nn.LayerNorm(WIDTH)
        self.net.scores = nn.Linear(WIDTH, ids, bias=False)
        self.net.scores.weight = self.net.lookup.weight


class Rung(nn.Module):
    "Each head a module of its own, positions as a parameter with an axis in front."
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.sa = nn.Module()
        self.sa.heads = nn.ModuleList()
        for _ in range(HEADS):
            head = nn.Module()
            for name in ("query", "key", "value"):
                head.add_module(name, nn.Linear(WIDTH, 4, bias=False))
            self.sa.heads.append(head)
        self.sa.proj = nn.Linear(WIDTH, WIDTH)
        self.ffwd = nn.Sequential(nn.Linear(WIDTH, 24), nn.ReLU(), nn.Linear(24, WIDTH))


class Ladder(nn.Module):
    def __init__(self, ids):
        super().__init__()
        torch.manual_seed(7)
        self.rungs = nn.Sequential(*(Rung() for _ in range(LAYERS)))
        self.token_embedding_table = nn.Embedding(ids, WIDTH)
        self.position_embedding = nn.Parameter(torch.randn(LONG, WIDTH))
        self.ln_f = nn.LayerNorm(WIDTH)
        self.lm_head = nn.Linear(WIDTH, ids)


class Lensed(nn.Module):
    "As TransformerLens: an axis of heads, biases too, and a head with the inputs first."
    def __init__(self, ids):
        super().__init__()
        torch.manual_seed(7)

        def held(**shapes):
            holder = nn.Module()
            for name, shape in shapes.items():
                holder.register_parameter(name, nn.Parameter(torch.zeros(shape)))
            return holder

        def block():
            matrices = {f"W_{role}": (HEADS, WIDTH, 4) for role in "QKV"}
            biases = {f"b_{role}": (HEADS, 4) for role in "QKV"}
            made = nn.Module()
            made.attn = held(**matrices, **biases, W_O=(HEADS, 4, WIDTH), b_O=(WIDTH,))
            made.ln1, made.ln2 = (held(w=(WIDTH,), b=(WIDTH,)) for _ in "ab")
            made.mlp = held(W_in=(WIDTH, 24), b_in=(24,), W_out=(24, WIDTH), b_out=(WIDTH,))
            return made

        self.n_heads = HEADS
        self.embed, self.pos_embed = held(W_E=(ids, WIDTH)), held(W_pos=(LONG, WIDTH))
        self.blocks = nn.ModuleList(block() for _ in range(LAYERS))
        self.ln_final = held(w=(WIDTH,), b=(WIDTH,))
        self.unembed = held(W_U=(WIDTH, ids), b_U=(ids,))

    def get_input_embeddings(self):
        return self.embed

    def get_output_embeddings(self):
        return self.unembed


class Convolved(nn.Module):
    "Attention and MLP in parallel behind one norm, as convolutions that see one place."
    def __init__(self):
        super().__init__()
        self.input_norm = nn.LayerNorm(WIDTH)
        self.attn = nn.Module()
        self.attn.heads = HEADS
        self.attn.qkv, self.attn.proj = nn.Conv1d(WIDTH, 3 * WIDTH, 1), nn.Conv1d(WIDTH, WIDTH, 1)
        self.mlp = nn.Sequential(nn.Conv1d(WIDTH, 24, 1), nn.GELU(), nn.Conv1d(24, WIDTH, 1))


class Nameless(nn.Module):
    "Nothing but queries, keys and values has a name that says what it is."
    def __init__(self):
        super().__init__()
        self.a, self.c = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.b = nn.ModuleDict({"q": nn.Linear(WIDTH, WIDTH), "k": nn.Linear(WIDTH, 8),
                                "v": nn.Linear(WIDTH, 8)})
        self.b["out"] = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.))
        self.b.n_heads = HEADS
        self.d = nn.Sequential(nn.Linear(WIDTH, 24), nn.SiLU(), nn.Linear(24, WIDTH))


class Stacked(nn.Module):
    "Positions as a parameter that is called `pos`."
    def __init__(self, ids, block):
        super().__init__()
        torch.manual_seed(7)
        self.embed, self.pos = nn.Embedding(ids, WIDTH), nn.Parameter(torch.zeros(1, LONG, WIDTH))
        self.blocks = nn.ModuleList(block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, ids, bias=False)


# --- whose is what: pattern → word, the first that matches; read from the modelling code


LLAMA = {r"embed_tokens": "embed", r"lm_head": "head", r"self_attn\.[qk]_(layer)?norm": "norm",
         r"input_layernorm": "attn_norm", r"layernorm": "norm", r"model\.norm": "final_norm",
         r"qkv_proj": "qkv", r"q_proj": "q", r"k_proj": "k", r"v_proj": "v", r"o_proj": "o",
         r"mlp": "mlp"}
TIED = {**LLAMA, r"lm_head": "embed"}
PHI = {r"final_layernorm": "final_norm", r"self_attn\.dense": "o", **LLAMA}
FALCON = {r"word_embeddings_layernorm": "norm", r"word_embeddings|lm_head": "embed",
          r"input_layernorm|ln_attn": "attn_norm", r"post_attention_layernorm|ln_mlp": "norm",
          r"ln_f": "final_norm", r"query_key_value": "qkv", r"attention\.dense": "o",
          r"mlp": "mlp"}
BIGCODE = {r"wte|lm_head": "embed", r"wpe": "position", r"ln_1": "attn_norm", r"ln_2": "norm",
           r"ln_f": "final_norm", r"c_attn": "qkv", r"attn\.c_proj": "o", r"mlp": "mlp"}
GPTJ = {r"wte": "embed", r"lm_head": "head", r"ln_1": "attn_norm", r"ln_f": "final_norm",
        r"qkv_proj": "qkv", r"q_proj": "q", r"k_proj": "k", r"v_proj": "v", r"out_proj": "o",
        r"mlp": "mlp"}
MPT = {r"wte|lm_head": "embed", r"norm_1": "attn_norm", r"norm_2": "norm", r"norm_f": "final_norm",
       r"Wqkv": "qkv", r"out_proj": "o", r"ffn": "mlp"}
XGLM = {r"embed_tokens|lm_head|output_projection": "embed", r"embed_positions": "position",
        r"self_attn_layer_norm": "attn_norm", r"layers\.\d+\.final_layer_norm": "norm",
        r"layer_norm": "final_norm", r"q_proj": "q", r"k_proj": "k", r"v_proj": "v",
        r"out_proj": "o", r"fc\d": "mlp"}
RWKV = {r"embeddings": "embed", r"^head": "head", r"ln1": "attn_norm", r"ln2|pre_ln": "norm",
        r"ln_out": "final_norm", r"attention\.receptance": "q", r"attention\.key": "k",
        r"attention\.value": "v", r"attention\.output": "o", r"attention\.time": "attn",
        r"feed_forward": "mlp"}
STAGED = {r"vocab_in": "embed", r"to_logits": "head", r"pos_table": "position",
          r"prenorm": "norm", r"closing": "final_norm", r"qkv": "qkv", r"self_attn\.proj": "o",
          r"mlp": "mlp"}
CELLED = {r"lookup|scores": "embed", r"norm_after": "norm", r"last_ln": "final_norm",
          r"Wq": "q", r"Wk": "k", r"Wv": "v", r"Wo": "o", r"feed_forward": "mlp"}
LADDER = {r"token_emb": "embed", r"lm_head": "head", r"position_emb": "position",
          r"ln_1": "attn_norm", r"ln_2": "norm", r"ln_f": "final_norm", r"query": "q",
          r"key": "k", r"value": "v", r"sa\.proj": "o", r"ffwd": "mlp"}

BERT = {r"word_embeddings|decoder\.weight": "embed", r"predictions\.bias|decoder\.bias": "head",
        r"position_embeddings|token_type": "position", r"transform\.LayerNorm": "final_norm",
        r"LayerNorm": "norm", r"query": "q", r"key": "k", r"value": "v",
        r"attention\.output\.dense": "o", r"transform\.dense": "other", r"dense": "mlp"}
RECURRENT = {r"embed_tokens|lm_head": "embed", r"final_norm": "final_norm",
             r"temporal_pre_norm": "attn_norm", r"channel_pre_norm": "norm", r"q_proj": "q",
             r"k_proj": "k", r"v_proj": "v", r"o_proj": "o", r"mlp_block": "mlp",
             r"temporal_block": "other"}
STACKED = {r"^embed": "embed", r"^head": "head", r"^pos": "position", r"input_norm": "attn_norm",
           r"^norm": "final_norm", r"attn\.qkv": "qkv", r"attn\.proj": "o", r"mlp": "mlp",
           r"\.[ac]\.": "norm", r"b\.q": "q", r"b\.k": "k", r"b\.v": "v", r"b\.out": "o",
           r"\.d\.": "mlp"}
LENSED = {r"^embed": "embed", r"unembed": "head", r"pos_embed": "position", r"ln1": "attn_norm",
          r"ln2": "norm", r"ln_final": "final_norm", r"_Q": "q", r"_K": "k", r"_V": "v",
          r"_O": "o", r"mlp": "mlp"}


def side_by_side(shared=HEADS):
    "Blocks of a fused matrix: all queries, all keys, all values."
    group = HEADS // shared
    served = [set(range(n * group, (n + 1) * group)) for n in range(shared)]
    return ([("q", {n}) for n in range(HEADS)] + [("k", mine) for mine in served]
            + [("v", mine) for mine in served])


def in_groups(shared=HEADS):
    "The queries of a group of heads, then their keys, then their values; next group."
    group, blocks = HEADS // shared, []
    for n in range(shared):
        mine = set(range(n * group, (n + 1) * group))
        blocks += [("q", {head}) for head in sorted(mine)] + [("k", mine), ("v", mine)]
    return blocks


def in_quarters():
    "CodeGen: four shards, in each queries, values, keys of a quarter of the heads."
    return [(role, {n}) for n in range(HEADS) for role in "qvk"]


MAKES = {
    "mistral": (decoder("mistral", **SHARED), LLAMA, 2, None),
    "gemma": (decoder("gemma", **PLAIN, num_key_value_heads=1, head_dim=8), TIED, 1, None),
    "gemma2": (decoder("gemma2", **SHARED, head_dim=8), TIED, 2, None),
    "phi": (decoder("phi", **PLAIN), PHI, HEADS, None),
    "phi3": (decoder("phi3", **SHARED), LLAMA, 2, side_by_side(2)),
    "falcon, old": (decoder("falcon", **PLAIN, multi_query=False, alibi=True, bias=True,
                            parallel_attn=False), FALCON, HEADS, in_groups()),
    "falcon, one key": (decoder("falcon", **PLAIN, multi_query=True), FALCON, 1, in_groups(1)),
    "falcon, new": (decoder("falcon", **PLAIN, new_decoder_architecture=True, num_kv_heads=2),
                    FALCON, 2, in_groups(2)),
    "bloom": (decoder("bloom", hidden_size=WIDTH, n_layer=LAYERS, n_head=HEADS), FALCON, HEADS,
              in_groups()),
    "gpt_bigcode": (decoder("gpt_bigcode", **GPT, multi_query=True), BIGCODE, 1, in_groups(1)),
    "gpt_bigcode, all keys": (decoder("gpt_bigcode", **GPT, multi_query=False), BIGCODE, HEADS,
                              in_groups()),
    "gptj": (decoder("gptj", **GPT, rotary_dim=4), GPTJ, HEADS, None),
    "codegen": (decoder("codegen", **GPT, rotary_dim=4), GPTJ, HEADS, in_quarters()),
    "mpt": (decoder("mpt", d_model=WIDTH, n_layers=LAYERS, n_heads=HEADS, max_seq_len=LONG), MPT,
            HEADS, side_by_side()),
    "stablelm": (decoder("stablelm", **SHARED, qk_layernorm=True, use_qkv_bias=True), LLAMA, 2,
                 None),
    "olmo": (decoder("olmo", **SHARED), LLAMA, 2, None),
    "olmo2": (decoder("olmo2", **SHARED), LLAMA, 2, None),
    "cohere": (decoder("cohere", **SHARED, use_qk_norm=True), TIED, 2, None),
    "rwkv": (decoder("rwkv", hidden_size=WIDTH, num_hidden_layers=LAYERS, intermediate_size=24,
                     attention_hidden_size=WIDTH), RWKV, 0, None),
    "qwen3": (decoder("qwen3", **SHARED, head_dim=8), LLAMA, 2, None),
    "granite": (decoder("granite", **SHARED, attention_bias=True), LLAMA, 2, None),
    "xglm": (decoder("xglm", d_model=WIDTH, num_layers=LAYERS, attention_heads=HEADS, ffn_dim=24),
             XGLM, HEADS, None),
    "biogpt": (decoder("biogpt", **PLAIN), XGLM, HEADS, None),
    "mixtral": (decoder("mixtral", **SHARED, num_local_experts=3), LLAMA, 2, None),
    "recurrent_gemma": (decoder(
        "recurrent_gemma", hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=1, intermediate_size=24, lru_width=WIDTH, attention_window_size=8),
        RECURRENT, 1, None),
    "bert": (decoder("bert", **PLAIN, is_decoder=True), BERT, HEADS, None),
    "convolved": (lambda ids: Stacked(ids, Convolved), STACKED, HEADS, side_by_side()),
    "nameless": (lambda ids: Stacked(ids, Nameless), STACKED, 2, None),
    "staged": (Staged, STAGED, HEADS, side_by_side()),
    "celled": (Celled, CELLED, 2, None),
    "ladder": (Ladder, LADDER, HEADS, None),
    "lensed": (Lensed, LENSED, HEADS, None),
}
TURNED = {"staged"}      # inputs first, in attention
UNEVEN = {"rwkv", "recurrent_gemma"}      # layers that have other tensors than their neighbours
ROLES = {"attn": "qkvo", "attn_qk": "qk", "attn_vo": "vo"}
NORMS = {"norm", "attn_norm", "final_norm"}


def word_of(make, name):
    return next(word for pattern, word in MAKES[make][1].items() if re.search(pattern, name))


def layer_of(name):
    number = re.search(r"\.(\d+)\.", name)
    return int(number[1]) if number else None


def blocks_of(make, name, shape):
    "`(axis, [(role, heads it serves), …])` of a tensor of attention; equal blocks."
    word, shared, fused = word_of(make, name), *MAKES[make][2:]
    own = re.search(r"heads\.(\d)\.", name)
    if own or word == "attn" or shared == 0 or word == "o" and len(shape) == 1:
        return 0, [(word, {int(own[1])} if own else set())]
    turned = make in TURNED and len(shape) == 2
    axis = int(turned) if word != "o" else int(not turned)
    axis = 0 if make == "lensed" else axis
    if word == "qkv":
        return axis, fused
    count = HEADS if word in "qo" else shared
    group = HEADS // count
    return axis, [(word, set(range(n * group, (n + 1) * group))) for n in range(count)]


def is_of(word, keep):
    "Whether a tensor that is no attention belongs to one of the components `keep`."
    return word in keep or word in NORMS and "norm" in keep


def mask_of(make, name, shape, keep, layers=None, heads=None):
    "True where a number is of the components `keep`, in these layers and heads."
    mask = torch.zeros(shape, dtype=torch.bool)
    word = word_of(make, name)
    if layers is not None and layer_of(name) not in layers:
        return mask
    if word not in ("q", "k", "v", "o", "qkv", "attn"):
        return mask | is_of(word, keep)
    roles = {role for component in keep for role in ROLES.get(component, "")}
    axis, blocks = blocks_of(make, name, shape)
    size = shape[axis] // len(blocks)
    for n, (role, served) in enumerate(blocks):
        wanted = "attn" in keep if role == "attn" else role in roles
        if wanted and (heads is None or served & set(heads)):
            mask.narrow(axis, n * size, size).fill_(True)
    return mask


# --- what is there before and after


def built(make, seed, ids, **more):
    model = MAKES[make][0](ids, **more)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=draws)
            parameter.copy_(.3 * noise * (1 + torch.rand(1, generator=draws)) + .02)
    return model


def tensors(model):
    return {n: p.detach().clone() for n, p in model.named_parameters(remove_duplicate=False)}


def applied(spec, source, target):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")      # that nothing crossed stands in the report
        return create_policy(spec).apply_state_dict(source.state_dict(), target)


def is_twice(spec, source, target):
    "Applied once more, nothing changes."
    once = tensors(target)
    applied(spec, source, target)
    return all(torch.equal(now, once[name]) for name, now in tensors(target).items())


def check_report(report, old, new, now):
    "Counts, norms and outcomes against the numbers themselves; tied names are one tensor."
    told = {fate.name: fate for fate in report.fates}
    assert set(told) >= set(old)
    written = {name for name, fate in told.items() if fate.elements}
    counted = {name for name in written if told[name].outcome in ("crosses", "partly")}
    assert report.loaded_parameter_count == len(counted)
    assert report.loaded_element_count == sum(told[name].elements for name in counted)
    assert set(report.filled_parameters) == written - counted
    for name in now:
        if name in told:
            assert told[name].before == pytest.approx(float(new[name].norm()), rel=1e-4)
            assert told[name].after == pytest.approx(float(now[name].norm()), rel=1e-4)
            changed = not torch.equal(now[name], new[name])
            assert not changed or told[name].outcome in ("crosses", "partly", "filled"), name
            assert told[name].outcome == "fresh" or changed or "does not" not in told[name].why


COPIES = {
    "attn": ({"keep": ["attn"]}, {}),
    "scores": ({"keep": ["attn_qk"]}, {}),
    "results, two layers": ({"keep": ["attn_vo"], "layers": "-2:"}, {"layers": {1, 2}}),
    "mlp, a list": ({"keep": ["mlp"], "layers": [0, 2]}, {"layers": {0, 2}}),
    "norms": ({"keep": ["norm"]}, {}),
    "attention with its norm": ({"keep": ["attn", "attn_norm"], "layers": "0:1"}, {"layers": {0}}),
    "last norm": ({"keep": ["final_norm"]}, {}),
    "positions": ({"keep": ["position"]}, {}),
    "tables": ({"keep": ["embed", "head"]}, {}),
    "a head without its table": ({"keep": ["head"]}, {}),
    "whole body": ({"keep": ["attn", "mlp", "norm", "position"]}, {}),
    "one head": ({"keep": ["attn"], "heads": [2], "layers": [1]}, {"heads": {2}, "layers": {1}}),
    "scores of two heads": ({"keep": ["attn_qk"], "heads": [0, 3]}, {"heads": {0, 3}}),
    "results of a head": ({"keep": ["attn_vo", "mlp"], "heads": [1]}, {"heads": {1}}),
}

QUICK = ("one head", "whole body")


@pytest.mark.parametrize("what", [
    what if what in QUICK else pytest.param(what, marks=pytest.mark.slow) for what in COPIES])
@pytest.mark.parametrize("make", MAKES)
def test_what_a_word_moves(make, what):
    "To the number: the donor's where the words say so, bit-identical elsewhere."
    options, limits = COPIES[what]
    spec = {"name": "components", **options}
    source, target = built(make, 0, OLD), built(make, 1, OLD)
    old, new = tensors(source), tensors(target)
    report = applied(spec, source, target)
    now, count = tensors(target), 0
    for name in now:
        mask = mask_of(make, name, now[name].shape, options["keep"], **limits)
        assert torch.equal(now[name], torch.where(mask, old[name], new[name])), name
    own = dict(target.named_parameters())
    for name in own:
        count += int(mask_of(make, name, own[name].shape, options["keep"], **limits).sum())
    assert report.loaded_element_count == count
    check_report(report, old, new, now)
    assert is_twice(spec, source, target)


TABLES = {
    "fresh": lambda old, new: new,
    "scaled": lambda old, new: new * (old.std(correction=0) / new.std(correction=0)),
    "mean": lambda old, new: old.mean(0, keepdim=True).expand_as(new),
    "match": lambda old, new: torch.cat(
        [old, old.mean(0, keepdim=True).expand(len(new) - len(old), *new.shape[1:])]),
    "copy": lambda old, new: new,        # other sizes: its own
    "fresh(0.5)": None, "sampled": None,
}


def rows(name, table):
    "One for each token."
    return table.T if name.endswith("W_U") else table


def check_table(rule, old, new, now):
    if TABLES[rule]:
        torch.testing.assert_close(now, TABLES[rule](old, new), rtol=1e-4, atol=1e-6)
        return
    wanted, mean = (.5, torch.zeros(())) if rule.startswith("fresh") else (
        old.var(0, correction=0).mean().sqrt(), old.mean(0))
    n = now.numel()
    assert not torch.equal(now, new) and len(now.unique()) == n
    assert abs((now - mean).square().mean().sqrt() / wanted - 1) < 5 / n ** .5 + .35 * (n < 100)
    assert (now - mean).mean().abs() < 5 * wanted / len(now) ** .5


def histogram(old, now):
    return torch.equal(old.flatten().sort()[0], now.flatten().sort()[0])


def near(one, other, tolerance=1e-4):
    return torch.allclose(one, other, rtol=tolerance, atol=1e-6)


def drawn_like(old, now, mean=None):
    n = old.numel()
    spread = old.std(correction=0)
    middle = old.mean() if mean is None else mean
    return (n == 1 or not torch.equal(now, old)) and bool(
        abs(now.mean() - middle) < 5 * spread / n ** .5 + 1e-5
        and abs(now.std(correction=0) - spread) < 4 * spread / n ** .5 + .6 * spread * (n < 20))


def scale(word, old, now, group):
    if word in NORMS:
        return near(now, old.mean().expand_as(now))
    return drawn_like(old, now, mean=0.)


def layer_pool(word, old, now, group):
    if word in ("position", "embed", "head"):
        return drawn_like(old, now, mean=0.)
    if word in NORMS:
        return near(now, torch.cat([t.flatten() for t in group]).mean().expand_as(now))
    pool = torch.cat([t.flatten() for t in group])
    n, spread = now.numel(), pool.std(correction=0)
    return bool(abs(now.std(correction=0) - spread) < 4 * spread / n ** .5 + .6 * spread * (n < 20))


def heads_of_length(make, name, old, now):
    "Every head's block has the length of the donor's and other numbers."
    if word_of(make, name) not in ("q", "k", "v", "o", "qkv") or not is_matrix(name, old):
        return torch.equal(now, old)
    axis, blocks = blocks_of(make, name, old.shape)
    pairs = zip(old.chunk(len(blocks), axis), now.chunk(len(blocks), axis))
    return all(near(a.norm(), b.norm()) and not torch.equal(a, b) for a, b in pairs)


MADE = {
    "statistics": ({}, lambda m, n, w, o, now, g: drawn_like(o, now)),
    "statistics scale": ({"level": "scale"}, lambda m, n, w, o, now, g: scale(w, o, now, g)),
    "statistics layer": ({"level": "layer"}, lambda m, n, w, o, now, g: layer_pool(w, o, now, g)),
    "layer_shuffled": ({}, lambda m, n, w, o, now, g: histogram(o, now) and (
        o.numel() < 8 or not torch.equal(o, now))),
    "layer_shuffled layers": ({"order": "layers"}, lambda m, n, w, o, now, g: any(
        torch.equal(now, t) for t in g)),
    "random_weights": ({}, lambda m, n, w, o, now, g: near(o.norm(), now.norm()) and (
        torch.equal(o, now) != is_matrix(n, o))),
    "random_heads": ({}, lambda m, n, w, o, now, g: heads_of_length(m, n, o, now)),
}


def is_added(name):
    return re.search(r"bias$|\.b(_\w+)?$", name) is not None


def is_matrix(name, tensor):
    "RWKV's `time_mix` are vectors with two axes of length one in front."
    return tensor.ndim > 1 and not is_added(name) and "time_mix" not in name


def kind_of(word, name, tensor):
    if word in NORMS:
        return "norm bias" if is_added(name) else "norm gain"
    return "matrix" if is_matrix(name, tensor) else "bias"


def peers(make, words, name, old):
    "The tensors that `name` shares its statistics, or its place, with."
    if words == "layer_shuffled layers":
        layer = layer_of(name)
        if layer is None:
            return [old[name]]
        return [old[n] for n in (re.sub(r"\.\d+\.", f".{k}.", name, count=1)
                                 for k in range(LAYERS)) if n in old]
    mine = kind_of(word_of(make, name), name, old[name])
    if layer_of(name) is None:
        return [old[name]]
    return [t for n, t in old.items() if layer_of(n) == layer_of(name)
            and kind_of(word_of(make, n), n, t) == mine]


def new_places(old, now):
    "Layer → the layer whose tensors it has now; the same for all of them."
    places = {}
    for name in now:
        layer = layer_of(name)
        if layer is not None:
            found = {k for k in range(LAYERS)
                     if torch.equal(now[name], old[re.sub(r"\.\d+\.", f".{k}.", name, count=1)])}
            places.setdefault(layer, set(range(LAYERS))).intersection_update(found)
    return [places[layer].pop() for layer in range(LAYERS)]


@pytest.mark.slow
@pytest.mark.parametrize("words", ["reinitialize_embeddings", *MADE])
@pytest.mark.parametrize("make", MAKES)
def test_every_policy_and_rule(make, words):
    "The body is what the policy says, every number of it; the tables are what the rule says."
    for rule in TABLES:
        check_policy_and_rule(make, words, rule)


def check_policy_and_rule(make, words, rule):
    options, right = MADE.get(words, ({}, lambda m, n, w, o, now, g: torch.equal(o, now)))
    spec = {"name": words.split()[0], "embeddings": rule, **options}
    source, target = built(make, 0, OLD), built(make, 1, NEW)
    old, new = tensors(source), tensors(target)
    report = applied(spec, source, target)
    now = tensors(target)
    for name in now:
        word = word_of(make, name)
        if word in ("embed", "head"):
            check_table(rule, *(rows(name, t[name]) for t in (old, new, now)))
        else:
            assert right(make, name, word, old[name], now[name],
                         peers(make, words, name, old)), name
    if words == "layer_shuffled layers" and make not in UNEVEN:
        assert sorted(new_places(old, now)) == [0, 1, 2] != new_places(old, now)
    check_report(report, old, new, now)
    assert rule not in ("fresh", "sampled") or is_twice(spec, source, target)


@pytest.mark.parametrize("make", MAKES)
def test_norm_constants_and_mimetic(make):
    "Gains before attention are .4; of attention only matrices of known heads are written."
    for spec in ("norm_constant", "mimetic"):
        source, target = built(make, 0, OLD), built(make, 1, NEW)
        new = tensors(target)
        applied({"name": spec}, source, target)
        for name, now in tensors(target).items():
            word = word_of(make, name)
            if spec == "norm_constant" and word == "attn_norm" and not is_added(name):
                assert torch.equal(now, torch.full_like(now, .4)), name
            elif spec == "mimetic" and word in ("q", "k", "v", "o", "qkv") and make != "rwkv":
                bias = is_added(name)
                assert not torch.equal(now, new[name]) or bias and word == "o", name
                assert not bias or word == "o" or not now.any(), name
            else:
                assert torch.equal(now, new[name]), name


@pytest.mark.parametrize("rule", ["copy", "match", "mean", "fresh", "scaled"])
@pytest.mark.parametrize("make", MAKES)
def test_tables_of_one_size(make, rule):
    source, target = built(make, 0, OLD), built(make, 1, OLD)
    old, new = tensors(source), tensors(target)
    applied({"name": "reinitialize_embeddings", "embeddings": rule}, source, target)
    for name, now in tensors(target).items():
        if word_of(make, name) not in ("embed", "head"):
            assert torch.equal(now, old[name]), name
        elif rule in ("copy", "match"):
            assert torch.equal(now, old[name]), name
        else:
            check_table(rule, *(rows(name, t) for t in (old[name], new[name], now)))


HALVES = {
    "layer_shuffled": lambda name, old, now: histogram(old, now),
    "random_weights": lambda name, old, now: near(old.norm(), now.norm()) and (
        torch.equal(old, now) != is_matrix(name, old.view(-1, 1) if is_added(name) else old)),
    "statistics": lambda name, old, now: drawn_like(old, now),
}


@pytest.mark.parametrize("words", HALVES)
@pytest.mark.parametrize("make", [make for make in MAKES if make != "rwkv"])
def test_what_is_made_of_a_half(make, words):
    "Of a matrix of which a half crosses, the other half is neither seen nor touched."
    spec = {"name": words, "keep": ["attn_qk"], "layers": [1]}
    source, target = built(make, 0, OLD), built(make, 1, OLD)
    old, new = tensors(source), tensors(target)
    applied(spec, source, target)
    for name, now in tensors(target).items():
        mask = mask_of(make, name, now.shape, ["attn_qk"], {1})
        assert torch.equal(now[~mask], new[name][~mask]), name
        if mask.any():
            assert not torch.equal(now[mask], new[name][mask]), name
            shape = (-1, 2) if now.ndim > 1 else (-1,)
            assert HALVES[words](name, *(t[mask].view(shape) for t in (old[name], now))), name
