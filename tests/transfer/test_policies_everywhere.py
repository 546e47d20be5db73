"""Every registered policy by name: in YAML, a recipe, a study, a bundle, a run, the inspector."""
from __future__ import annotations

import json

import pytest
import torch

from pptrain import load_recipe
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.runs import run_transfer_evaluation
from pptrain.study.budgets import StudyConfig
from pptrain.transfer import TransferBundle, create_policy, registered_policies
from pptrain.views.inspector import parameter_fates, policy_choices
from pptrain.vocab import TokenizerSpec

OPTIONS = {
    "copy": {},
    "reinitialize_embeddings": {"embeddings": "fresh(0.5)", "positions": "fresh", "seed": 3},
    "skip_parameters": {"prefixes": ["transformer.h.0."]},
    "components": {"keep": ["attn_qk", "norm"], "layers": "-1:", "heads": [0],
                   "embeddings": "sampled", "names": {"^a": "b"}, "depth": "stretch"},
    "statistics": {"level": "scale"},
    "norm_constant": {"value": .5},
    "layer_shuffled": {"order": "layers", "layers": [0]},
    "random_weights": {"keep": ["mlp"]},
    "random_heads": {"seed": 2, "embeddings": "mean"},
    "mimetic": {"scores": .5, "results": .2},
    "mix": {"donors": {"attn_qk": "trained", "mlp": "trained"}, "embeddings": "scaled"},
}
TEXT = {"corpus": "docs", "max_bytes": 60_000, "vocab_size": 300, "max_length": 32,
        "train_steps": 2, "batch_size": 2, "eval_every": 2, "warmup_steps": 0, "eval_blocks": 2,
        "compare_baseline": False}


def test_none_is_forgotten():
    assert set(OPTIONS) == set(registered_policies())
    assert all(cls.paper for cls in registered_policies().values())


both = pytest.mark.parametrize("spec", [
    spec for name, options in OPTIONS.items()
    for spec in ({"name": name}, {"name": name, **options})], ids=lambda spec: str(spec)[:40])


@both
def test_it_is_its_yaml(spec):
    policy = create_policy(spec)
    assert create_policy(str(policy)) == policy == create_policy(policy.to_dict())
    assert json.loads(json.dumps(policy.to_dict())) == policy.to_dict()


@both
def test_recipe_and_study(spec, tmp_path):
    recipe = load_recipe({
        "task": {"name": "dyck", "config": {"preset": "smoke"}}, "run": {"output_dir": "runs/x"},
        "model": {"model_name_or_path": "gpt2-1_2_16"}, "policy": spec, "text": TEXT})
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    again = load_recipe(tmp_path / "recipe.yaml")
    assert again == recipe and again.policy == create_policy(spec)
    assert again.eval_config().transfer_policy() == create_policy(spec)
    assert StudyConfig("s", "dyck", "smoke", policy=spec).transfer_policy() == create_policy(spec)


@pytest.fixture(scope="module")
def adapter():
    fields = {"n_positions": 64, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
    return HFCausalLMAdapter(HFModelConfig("gpt2-2_2_16", config_overrides=fields))


@pytest.fixture(scope="module")
def bundle(adapter, tmp_path_factory):
    torch.manual_seed(0)
    model = adapter.create_prepretrain_model(TokenizerSpec(16))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(.1 * torch.randn_like(parameter))
    return TransferBundle.save(model, tmp_path_factory.mktemp("run"), task_name="dyck",
                               task_config={}, tokenizer_spec={"vocab_size": 16})


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run(name, adapter, bundle, tmp_path):
    "The text stage names the policy, and starts from what it makes."
    spec = {"name": name, **OPTIONS[name]}
    path = run_transfer_evaluation(bundle=bundle, model_adapter=adapter,
                                   eval_config={**TEXT, "policy": spec}, output_dir=tmp_path)
    told = json.loads(path.read_text())
    assert told["transfer_report"]["policy"] == create_policy(spec).to_dict()
    assert "warning" not in told
    assert told["transferred"]["curve"][-1]["step"] == 2


@pytest.mark.parametrize("name", OPTIONS)
def test_the_inspector_offers_and_draws_it(name, adapter, bundle):
    choices = policy_choices()
    assert name in {policy.name for policy in choices.values()}
    for policy in [p for p in choices.values() if p.name == name] + [
            create_policy(name, **OPTIONS[name])]:
        model = adapter.load_downstream_model(vocab_size=300)
        rehearsed = {row.fate.name: row.fate[:5] for row in parameter_fates(
            policy, bundle.state_dict(), model)}
        done = policy.apply_bundle(bundle, model)
        assert rehearsed == {fate.name: fate[:5] for fate in done.fates}


def test_policies_make_different_starts(adapter, bundle):
    "No two names do the same."
    seen = {}
    for name, options in OPTIONS.items():
        torch.manual_seed(1)
        model = adapter.load_downstream_model(vocab_size=300)
        create_policy(name, **options).apply_bundle(bundle, model)
        seen[name] = tuple(float(p.detach().double().sum()) for p in model.parameters())
    assert len(set(seen.values())) == len(seen)
