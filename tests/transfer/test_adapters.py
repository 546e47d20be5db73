"""Models that nobody made for pptrain: those of the page on models of one's own, to the number."""
from __future__ import annotations

import pytest
import torch
from conftest import cells_of
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM

from pptrain import PrePreTrainer, RunConfig, create_task
from pptrain.integrations import VocabSizeCausalLMAdapter, is_causal, named, parts, pieces
from pptrain.transfer import TransferBundle, create_policy

IDS = 20


@pytest.fixture(scope="module")
def page():
    "The classes of nbs/how_to/custom_models.ipynb, its runs left out."
    space: dict = {}
    for cell in cells_of("nbs/how_to/custom_models.ipynb"):
        kept = cell["source"].split("\nrun = ")[0]
        shown = cell["cell_type"] == "code" and "#| hide" not in kept
        if shown and ("class " in kept or "import" in kept):
            exec(kept.split("\nprint(")[0], space)
    return space


MAKES = {
    "by hand": (lambda page, ids: page["Transformer"](ids), {"tokens", "head"}),
    "lstm": (lambda page, ids: page["Recurrent"](ids), {"tokens", "head"}),
    "lens": (lambda page, ids: page["Lens"](page["LikeLens"](ids)), {"embed", "unembed"}),
}


@pytest.mark.parametrize("make", MAKES)
def test_everything_but_the_token_tables_crosses(page, make):
    build, tables = MAKES[make]
    torch.manual_seed(0)
    source, target = build(page, IDS), build(page, 2 * IDS)
    before = {name: p.detach().clone() for name, p in named(target).items()}
    create_policy("reinitialize_embeddings").apply_state_dict(source.state_dict(), target)
    state = source.state_dict()
    for name, parameter in named(target).items():
        fresh = bool(tables & set(name.split(".")))
        assert torch.equal(parameter, before[name] if fresh else state[name]), name
    assert is_causal(target)


@pytest.mark.parametrize("make", ["by hand", "lens"])
def test_one_head_crosses_alone(page, make):
    "The scores of head 2 in layer 1 are the donor's, those of the others stay."
    build = MAKES[make][0]
    torch.manual_seed(0)
    source, target = build(page, IDS), build(page, IDS)
    before, state = ({n: p.detach().clone() for n, p in named(m).items()} for m in (target, source))
    policy = create_policy("components", keep=["attn_qk"], heads=[2], layers=[1])
    policy.apply_state_dict(source.state_dict(), target)
    for name, found in pieces(target).items():
        now = named(target)[name].detach()
        for piece in found:
            mine = piece.layer == 1 and piece.role in ("q", "k") and piece.heads == (2,)
            wanted = state if mine else before
            assert torch.equal(piece.of(now), piece.of(wanted[name])), piece


def lens_model(ids, page):
    "The real thing, up to version 3."
    lens = pytest.importorskip("transformer_lens")
    try:
        model, config = lens.HookedTransformer, lens.HookedTransformerConfig
    except ImportError:
        pytest.skip("this version of transformer-lens wraps Hugging Face models")
    torch.manual_seed(0)
    shape = dict(n_layers=2, d_model=32, n_heads=4, d_head=8, n_ctx=64, act_fn="gelu")
    return page["Lens"](model(config(d_vocab=ids, device="cpu", seed=0, **shape)))


def test_the_real_lens_has_the_names_of_ours(page):
    real = lens_model(IDS, page)
    ours = page["Lens"](page["LikeLens"](IDS))
    shapes = {name: tuple(p.shape) for name, p in named(ours).items() if ".mlp." not in name}
    assert shapes == {
        name: tuple(p.shape) for name, p in named(real).items() if ".mlp." not in name}
    assert parts(real) == parts(ours)
    for name, found in pieces(ours).items():
        assert pieces(real)[name] == found, name


def test_the_real_lens_learns_and_crosses(page, tmp_path):
    adapter = VocabSizeCausalLMAdapter(
        create_prepretrain_model=lambda ids: lens_model(ids, page),
        load_downstream_model=lambda: lens_model(50, page))
    task = create_task("dyck", preset="smoke")
    config = RunConfig(tmp_path / "run", max_steps=3, use_cpu=True)
    bundle = PrePreTrainer(task, adapter, config).fit().load_transfer_bundle()
    target = adapter.load_downstream_model()
    report = bundle.policy.apply_bundle(bundle, target)
    own = [name for name in named(target) if "embed.W_E" not in name and "unembed" not in name]
    assert report.loaded_parameter_count == len(own)
    assert all(torch.equal(named(target)[name], bundle.state_dict()[name]) for name in own)


def test_the_lens_looks_into_a_bundle(tmp_path):
    "As the page says for version 4: a bridge over what `from_pretrained` reads."
    bridge = pytest.importorskip("transformer_lens.model_bridge").TransformerBridge
    shape = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": IDS, "n_positions": 16}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", **shape)).eval()
    bundle = TransferBundle.save(model, tmp_path, task_name="t", task_config={}, tokenizer_spec={})
    read = AutoModelForCausalLM.from_pretrained(bundle.model_dir, attn_implementation="eager")
    over = bridge.boot_transformers(str(bundle.model_dir), hf_model=read, device="cpu")
    ids = torch.arange(8)[None]
    with torch.no_grad():
        logits, cache = over.run_with_cache(ids)
        assert torch.allclose(logits, model(ids).logits, atol=1e-5)
    assert cache["blocks.1.attn.hook_pattern"].shape == (1, 2, 8, 8)


class Gru(nn.Module):
    "Another recurrent one, under other words."
    def __init__(self, ids):
        super().__init__()
        self.lookup, self.cell = nn.Embedding(ids, 8), nn.GRU(8, 8, batch_first=True)
        self.unembed = nn.Linear(8, ids)

    def forward(self, input_ids, attention_mask=None, labels=None):
        logits = self.unembed(self.cell(self.lookup(input_ids))[0])
        if labels is None:
            return {"logits": logits}
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return {"loss": loss, "logits": logits}


@pytest.mark.parametrize("policy", ["copy", "statistics", "layer_shuffled", "random_weights"])
def test_a_gru_under_other_policies(policy, tmp_path):
    adapter = VocabSizeCausalLMAdapter(create_prepretrain_model=Gru,
                                       load_downstream_model=lambda: Gru(50))
    run = PrePreTrainer(create_task("dyck", preset="smoke"), adapter,
                        RunConfig(tmp_path, max_steps=2, use_cpu=True)).fit()
    target = Gru(50)
    before = target.cell.weight_hh_l0.detach().clone()
    report = create_policy(policy).apply_bundle(run.load_transfer_bundle(), target)
    assert not torch.equal(target.cell.weight_hh_l0, before)
    assert {"lookup.weight", "unembed.weight"} <= set(report.skipped_parameters)
