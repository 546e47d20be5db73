"""What crossed is held still: to the bit, with its optimizer state, over an interruption."""
from __future__ import annotations

import json

import pytest
import torch
from transformers import TrainerCallback

from pptrain import load_recipe
from pptrain.data import Example, TaskDataset, item_rngs
from pptrain.errors import InputError
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig, named
from pptrain.runs import learn_text
from pptrain.runs.freeze import Freeze
from pptrain.study.budgets import StudyConfig
from pptrain.transfer import TransferBundle, create_policy
from pptrain.vocab import TokenizerSpec


def letters(seed, split, epoch, indices):
    return [Example(rng.integers(30, size=9).tolist(), [1] * 9)
            for rng in item_rngs(seed, split, epoch, indices)]


class Adapter(HFCausalLMAdapter):
    "Remembers the model that it made for the text."
    def load_downstream_model(self, vocab_size=None):
        self.made = super().load_downstream_model(vocab_size)
        self.start = {name: p.detach().clone() for name, p in named(self.made).items()}
        return self.made


class Crash(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **more):
        if state.global_step == self.step:
            raise RuntimeError("power cut")


@pytest.fixture
def adapter():
    return Adapter(HFModelConfig("llama", config_overrides={
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "intermediate_size": 32, "max_position_embeddings": 16}))


@pytest.fixture
def bundle(adapter, tmp_path):
    torch.manual_seed(5)
    model = adapter.create_prepretrain_model(TokenizerSpec(12))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(.1 * torch.randn_like(parameter))
    return TransferBundle.save(model, tmp_path / "donor", task_name="t", task_config={},
                               tokenizer_spec={"vocab_size": 12})


def learn(adapter, bundle, policy="reinitialize_embeddings", **options):
    return learn_text(
        adapter, bundle, create_policy(policy), TaskDataset(letters, 1000),
        TaskDataset(letters, 8, split="eval"), vocab_size=30, **{**dict(
            steps=12, batch_size=4, learning_rate=1e-2, eval_every=4, weight_decay=.1,
            use_cpu=True, disable_tqdm=True), **options})


def moved(adapter):
    "Names of parameters that are not what they were after the transfer, among those that crossed."
    return {name for name, p in named(adapter.made).items()
            if not torch.equal(p, adapter.start[name])}


def test_for_good(adapter, bundle):
    run = learn(adapter, bundle, freeze="transferred")
    state = bundle.state_dict()
    for name, parameter in named(adapter.made).items():
        if name in run.frozen.names:
            assert torch.equal(parameter, state[name]), name      # weight decay included
        else:
            assert not torch.equal(parameter, adapter.start[name]), name
    assert {n for n in named(adapter.made) if "embed" in n or "head" in n} == set(
        named(adapter.made)) - set(run.frozen.names)
    assert all(p.requires_grad for p in adapter.made.parameters())
    assert run.frozen.line.endswith("frozen for good")


def test_components(adapter, bundle):
    run = learn(adapter, bundle, freeze={"parameters": ["mlp"]})
    state = bundle.state_dict()
    for name, parameter in named(adapter.made).items():
        assert ("mlp" in name) == (name in run.frozen.names)
        assert torch.equal(parameter, state[name]) if "mlp" in name else name in moved(adapter)


def test_it_is_the_same_run_until_it_is_let_go(adapter, bundle):
    "Frozen for 12 of 12 steps is frozen for good; for 6, the first 6 steps are the same."
    good, rows = (learn(adapter, bundle, freeze={"steps": n}).rows for n in (None, 12))
    assert rows == good
    six = learn(adapter, bundle, freeze={"steps": 6}).rows
    loose = learn(adapter, bundle).rows
    assert six[1] == good[1] != loose[1] and six[-1] != good[-1]


class Watch(TrainerCallback):
    "What the optimizer knows about the frozen parameters after each step."
    def __init__(self, adapter):
        self.adapter, self.known = adapter, []

    def on_step_end(self, args, state, control, optimizer=None, **more):
        optimizer = getattr(optimizer, "optimizer", optimizer)
        mlp = [p for name, p in named(self.adapter.made).items() if "mlp" in name]
        self.known.append(sum(bool(optimizer.state.get(p)) for p in mlp))


def test_the_optimizer_learns_of_them_when_they_move(adapter, bundle):
    watch = Watch(adapter)
    learn(adapter, bundle, freeze={"parameters": "mlp", "steps": 5}, steps=7, callbacks=[watch])
    assert watch.known == [0] * 5 + [6] * 2


@pytest.mark.parametrize("crash", [5, 9], ids=["while frozen", "afterwards"])
def test_it_goes_on_to_the_same_bytes(adapter, bundle, tmp_path, crash):
    freeze = {"steps": 7}
    undisturbed = learn(adapter, bundle, freeze=freeze).rows
    end = {name: p.detach().clone() for name, p in named(adapter.made).items()}
    folder = tmp_path / "text"
    with pytest.raises(RuntimeError):
        learn(adapter, bundle, freeze=freeze, folder=folder, callbacks=[Crash(crash)])
    assert learn(adapter, bundle, freeze=freeze, folder=folder).rows == undisturbed
    assert all(torch.equal(p, end[name]) for name, p in named(adapter.made).items())
    with pytest.raises(InputError, match="frozen"):          # another question, another folder
        learn(adapter, bundle, freeze={"steps": 8}, folder=folder)


def test_what_crossed_in_part_or_not_at_all(adapter, bundle, tmp_path):
    gpt2 = Adapter(HFModelConfig("gpt2-2_2_16", config_overrides={"n_positions": 16}))
    donor = TransferBundle.save(gpt2.create_prepretrain_model(TokenizerSpec(12)), tmp_path / "g",
                                task_name="t", task_config={}, tokenizer_spec={})
    policy = {"name": "components", "keep": ["attn_qk", "mlp"]}
    with pytest.raises(InputError, match=r"c_attn.* in part"):
        learn(gpt2, donor, policy, freeze="transferred")
    assert learn(gpt2, donor, policy, freeze={"parameters": ["mlp"]}).frozen
    with pytest.raises(InputError, match="nothing .* crossed whole"):
        learn(adapter, bundle, "statistics", freeze="transferred")


def test_scratch_knows_nothing_of_it(adapter, bundle):
    run = learn(adapter, None, freeze="transferred")
    assert run.frozen is None and run.rows == learn(adapter, None).rows


@pytest.mark.parametrize("value, said", [
    ({"steps": 0}, "steps=0"), ({"steps": 1.5}, "steps=1.5"), ({"steps": True}, "steps=True"),
    ({"parameters": "mpl"}, "did you mean 'mlp'"), ({"params": "mlp"}, "did you mean 'parameters'"),
    ({"parameters": []}, "parameters is empty")], ids=str)
def test_recipe_and_study_refuse_it_at_once(value, said):
    recipe = {"task": {"name": "dyck", "config": {"preset": "smoke"}}, "model": {},
              "run": {"output_dir": "runs/x"}, "text": {"freeze": value}}
    recipe["model"] = {"model_name_or_path": "gpt2-2_2_16"}
    with pytest.raises(InputError, match=said):
        load_recipe(recipe)
    with pytest.raises(InputError, match=said):
        StudyConfig("s", "dyck", "smoke", freeze=value)


def test_a_recipe_holds_still_and_says_so(tmp_path):
    recipe = load_recipe({
        "task": {"name": "dyck", "config": {"preset": "smoke"}},
        "model": {"model_name_or_path": "gpt2-1_2_16", "config_overrides": {"n_positions": 64}},
        "run": {"output_dir": str(tmp_path / "run"), "max_steps": 2, "use_cpu": True,
                "gradient_accumulation_steps": 1},
        "text": {"corpus": "docs", "max_bytes": 60_000, "vocab_size": 300, "max_length": 32,
                 "train_steps": 3, "batch_size": 2, "eval_every": 2, "warmup_steps": 0,
                 "eval_blocks": 2, "freeze": {"parameters": ["attn", "mlp"], "steps": 2}}})
    assert load_recipe(_read(recipe.to_yaml(), tmp_path)).text == recipe.text
    told = json.loads(recipe.fit().eval_path.read_text())
    assert told["transfer_report"]["frozen"] == (
        "8 tensors with 3,216 numbers frozen for the first 2 steps")
    assert told["config"]["freeze"]["steps"] == 2


def _read(text, folder):
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml"


def test_a_value(tmp_path):
    assert Freeze.of({"parameters": ["ln"]}) == Freeze("norm")
