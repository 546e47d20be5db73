"""A model in a wrapper is the model: the same tensors cross, and what is saved has plain names."""
from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM

from pptrain import PrePreTrainer, RunConfig, create_task
from pptrain.errors import InputError
from pptrain.integrations import (
    CallableCausalLMAdapter,
    HFCausalLMAdapter,
    HFModelConfig,
    context_length,
    plain_state,
    weights_sha256,
)
from pptrain.transfer import TransferBundle, TransferPolicy, create_policy
from pptrain.vocab import TokenizerSpec

MAKES = ("gpt2-2_2_16", "pythia-tiny", "llama-tiny")


def compiled(model):
    return torch.compile(model, backend="eager")


def in_part(model):
    "Only the last layer is compiled, as some do to save time."
    layers = next(m for m in model.modules() if isinstance(m, nn.ModuleList))
    layers[len(layers) - 1] = compiled(layers[-1])
    return model


class Engine(nn.Module):
    "Holds a model as launchers do."

    def __init__(self, module):
        super().__init__()
        self.module = module


WRAPPERS = {
    "compiled": compiled,
    "parallel": nn.DataParallel,
    "both": lambda model: nn.DataParallel(compiled(model)),
    "both ways": lambda model: compiled(Engine(nn.DataParallel(model))),
    "averaged": torch.optim.swa_utils.AveragedModel,
    "in part": in_part,
}
each = pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
POLICIES = ("copy", "reinitialize_embeddings", "components",
            {"name": "reinitialize_embeddings", "embeddings": "mean"},
            {"name": "skip_parameters", "prefixes": ["transformer.h.0", "model.layers.0"]})


def built(make, seed):
    torch.manual_seed(seed)
    adapter = HFCausalLMAdapter(HFModelConfig(make))
    return adapter.create_prepretrain_model(TokenizerSpec(30, pad_token_id=0))


@each
@pytest.mark.parametrize("make", MAKES)
def test_on_either_side(wrap, make):
    for policy in map(create_policy, POLICIES):
        wanted = built(make, 2)
        report = policy.apply_state_dict(built(make, 1).state_dict(), wanted)
        for source, target in ((wrap(built(make, 1)), built(make, 2)),
                               (built(make, 1), wrap(built(make, 2))),
                               (wrap(built(make, 1)), wrap(built(make, 2)))):
            state = {n: t for n, t in source.state_dict().items() if n != "n_averaged"}
            same = policy.apply_state_dict(state, target)
            assert {fate[:4] for fate in same.fates} == {fate[:4] for fate in report.fates}
            assert weights_sha256(plain_state(target)) == weights_sha256(plain_state(wanted))


@each
def test_bundles_have_plain_names(wrap, tmp_path):
    model = built(MAKES[0], 1)
    names = set(plain_state(model))
    bundle = TransferBundle.save(wrap(model), tmp_path, task_name="t", task_config={},
                                 tokenizer_spec=TokenizerSpec(30))
    assert set(bundle.state_dict()) == names
    again = AutoModelForCausalLM.from_pretrained(bundle.model_dir)
    assert weights_sha256(plain_state(again)) == bundle.weights_sha256


@each
def test_context_is_seen(wrap):
    assert context_length(wrap(built(MAKES[0], 1))) == context_length(built(MAKES[0], 1))


@pytest.mark.parametrize("make", MAKES)
def test_with_head_and_without(make):
    headed = built(make, 1)
    body = AutoModel.from_config(built(make, 2).config)
    count = len(dict(body.named_parameters()))
    up = TransferPolicy().apply_state_dict(body.state_dict(), built(make, 3))
    down = TransferPolicy().apply_state_dict(compiled(headed).state_dict(), body)
    assert up.loaded_parameter_count == down.loaded_parameter_count == count
    inner = getattr(headed, headed.base_model_prefix)
    assert weights_sha256(plain_state(inner)) == weights_sha256(plain_state(body))


def test_other_architectures_stay_strangers():
    policy = create_policy("reinitialize_embeddings")
    for source in MAKES:
        for target in set(MAKES) - {source}:
            with pytest.warns(UserWarning, match="no parameter crossed"):
                policy.apply_state_dict(built(source, 1).state_dict(), built(target, 1))


def test_an_output_layer_alone_is_no_quiet_success():
    "Two architectures may share the name of their head: said, though a parameter crossed."
    source, target = built("llama-tiny", 1), built("llama-tiny", 2)
    foreign = {name.replace("model.layers", "transformer.h"): tensor
               for name, tensor in source.state_dict().items()}
    with pytest.warns(UserWarning, match="no layer of the trained model"):
        report = create_policy("copy").apply_state_dict(foreign, target)
    assert report.loaded_parameter_count and report.skipped_parameters


def test_what_has_no_numbers(tmp_path):
    state, policy = built(MAKES[0], 1).state_dict(), create_policy("reinitialize_embeddings")
    bodiless = {name: tensor.to("meta") for name, tensor in state.items()}
    key, table = "transformer.h.0.mlp.c_fc.weight", "transformer.wte.weight"
    broken = state | {key: torch.full_like(state[key], torch.nan)}
    target = built(MAKES[0], 2)
    before = weights_sha256(plain_state(target))
    for source, model in ((state, built(MAKES[0], 2).to("meta")), (bodiless, target),
                          (broken, target)):
        with pytest.raises(InputError, match="meta device|NaN"):
            policy.apply_state_dict(source, model)
    assert weights_sha256(plain_state(target)) == before
    with pytest.raises(InputError, match=key):
        policy.apply_state_dict(broken, target)
    unused = state | {name: torch.full_like(state[table], torch.nan)
                      for name in (table, "lm_head.weight")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert policy.apply_state_dict(unused, target).loaded_parameter_count
    with torch.no_grad():
        target.transformer.wte.weight[3] = torch.nan
    with pytest.warns(UserWarning, match=table):
        policy.apply_state_dict(state, target)
    for model in (target, built(MAKES[0], 2).to("meta")):
        with pytest.raises(InputError, match="meta device|NaN"):
            TransferBundle.save(model, tmp_path, task_name="t", task_config={},
                                tokenizer_spec=TokenizerSpec(30))
    assert not list(tmp_path.iterdir())


def trained(folder, wrap, **settings):
    "A tiny run of wrapped models, dropout off."
    still = dict(n_positions=256, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    hf = HFCausalLMAdapter(HFModelConfig("gpt2-1_2_16", config_overrides=still))
    adapter = CallableCausalLMAdapter(
        create_prepretrain_model=lambda spec: wrap(hf.create_prepretrain_model(spec)),
        load_downstream_model=hf.load_downstream_model)
    task = create_task("procedural", {"preset": "smoke", "sequence_count": 32})
    config = RunConfig(output_dir=folder, per_device_train_batch_size=4, save_steps=2, **settings)
    return PrePreTrainer(task=task, model_adapter=adapter, run_config=config).fit()


def test_training(tmp_path):
    "The same weights come out; a checkpoint fits whatever goes on from it."
    def plain(model):
        return model
    wanted = trained(tmp_path / "plain", plain, max_steps=4).metrics
    for name, wrap in (("compiled", compiled), ("parallel", nn.DataParallel)):
        run = trained(tmp_path / name, wrap, max_steps=4)
        assert run.metrics["weights_sha256"] == wanted["weights_sha256"]
        assert set(run.load_transfer_bundle().state_dict()) == set(plain_state(
            AutoModelForCausalLM.from_pretrained(run.model_dir)))
