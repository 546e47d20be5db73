"""What cannot be carried over is an error, or a line of the report: for every policy there is."""
from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from pptrain.errors import InputError
from pptrain.integrations import named
from pptrain.transfer import (
    ComponentTransferPolicy,
    TransferBundle,
    create_policy,
    load_state,
    registered_policies,
)

POLICIES = sorted(registered_policies())
FROM_NOTHING = ("mimetic",)          # writes without a trained model
COMPONENTS = [name for name in POLICIES
              if issubclass(registered_policies()[name], ComponentTransferPolicy)]
every_policy = pytest.mark.parametrize("name", POLICIES)


def model(kind="gpt2", width=16, vocab=20, seed=0, **more):
    torch.manual_seed(seed)
    sizes = dict(hidden_size=width, num_hidden_layers=2, num_attention_heads=2, vocab_size=vocab,
                 intermediate_size=32, max_position_embeddings=16, bos_token_id=0, eos_token_id=0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**sizes, **more}))


def numbers(of):
    return {name: p.detach().clone() for name, p in named(of).items()}


def same(one, other):
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def applied(name, source, target):
    "The report, and whether it was said that nothing crossed."
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        report = create_policy(name).apply_state_dict(source, target)
    return report, any("no parameter crossed" in str(line.message) for line in said)


def check_complete(report, source, target):
    "Every name of either model has a line, and each line that is no crossing says why."
    told = {fate.name: fate for fate in report.fates}
    assert set(source) <= set(told) and len(told) == len(report.fates)
    for fate in report.fates:
        assert fate.outcome in ("crosses", "filled", "partly") or fate.why
    written = {fate.name for fate in report.fates if fate.elements}
    own = named(target)
    places = {own[name].data_ptr() for name in written}
    for name, parameter in own.items():
        assert name in told or parameter.data_ptr() in places or any(
            own[other].data_ptr() == parameter.data_ptr() for other in told if other in own), name


@every_policy
def test_another_width(name):
    "No tensor is cut to size: each stays as it is, and a line says that its shape does not fit."
    source, target = model(width=24).state_dict(), model(seed=1)
    before = numbers(target)
    report, silent = applied(name, source, target)
    check_complete(report, source, target)
    assert report.loaded_parameter_count == 0
    if name not in FROM_NOTHING:
        assert same(numbers(target), before) and silent
        fitting = [f for f in report.fates if f.source and f.target and "does not fit" not in f.why]
        assert all("token" in f.why or "among" in f.why or "embed" in f.why or "bias" in f.why
                   or "tied" in f.why for f in fitting), fitting


@every_policy
def test_a_bundle_of_another_architecture(name, tmp_path):
    bundle = TransferBundle.save(model("llama"), tmp_path, task_name="t", task_config={},
                                 tokenizer_spec={})
    target = model(vocab=30, seed=1)
    before = numbers(target)
    report, silent = applied(name, bundle.state_dict(), target)
    check_complete(report, {} if name in FROM_NOTHING else bundle.state_dict(), target)
    if name not in FROM_NOTHING:
        assert same(numbers(target), before) and silent
        assert set(report.skipped_parameters) == set(bundle.state_dict())
        assert report.loaded_parameter_count == 0 == len(report.filled_parameters)


@every_policy
@pytest.mark.parametrize("source", [{}, {"nobody.weight": torch.ones(3)}], ids=["empty", "foreign"])
def test_nothing_that_crosses(name, source):
    target = model(seed=1)
    before = numbers(target)
    report, silent = applied(name, source, target)
    if name not in FROM_NOTHING:
        assert silent and same(numbers(target), before)
        assert len(report.missing_parameters) == len(dict(target.named_parameters()))


@every_policy
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none(name, bad):
    "The tensor is named, and nothing was written, not even what came before it."
    source, target = model().state_dict(), model(seed=1)
    crossing = "transformer.h.1.mlp.c_proj.weight"
    for tensor in (crossing, "transformer.h.1.attn.c_attn.weight", "transformer.h.1.ln_1.weight"):
        source[tensor] = source[tensor].clone()
        source[tensor].view(-1)[5] = bad
    before = numbers(target)
    if name in (*FROM_NOTHING, "norm_constant"):     # which write what the trained ones do not say
        create_policy(name).apply_state_dict(source, target)
        assert all(torch.isfinite(p).all() for p in target.parameters())
        return
    with pytest.raises(InputError, match=r"the trained model: .* transformer\.h\.1\."):
        create_policy(name).apply_state_dict(source, target)
    assert same(numbers(target), before)


@every_policy
def test_numbers_that_are_none_and_stay_behind(name):
    "A token table that does not cross may hold anything; NaN in what stays of the target is said."
    if name in ("copy", "skip_parameters"):
        return                          # there it crosses, as the test above has it
    source = model().state_dict()
    source["transformer.wte.weight"] = torch.full((20, 16), float("nan"))
    source.pop("lm_head.weight")
    target = model(seed=1)
    create_policy(name).apply_state_dict(source, target)
    assert torch.isfinite(target.transformer.wte.weight).all()
    with torch.no_grad():
        target.transformer.wte.weight[0] = float("nan")
    with pytest.warns(UserWarning, match="the new model holds NaN"):
        create_policy(name).apply_state_dict(source, target)


@every_policy
def test_the_meta_device(name):
    source = model().state_dict()
    with torch.device("meta"):
        ghost = AutoModelForCausalLM.from_config(model().config)
    with pytest.raises(InputError, match="the new model: .* meta device"):
        create_policy(name).apply_state_dict(source, ghost)
    target = model(seed=1)
    before = numbers(target)
    if name not in FROM_NOTHING:
        with pytest.raises(InputError, match="the trained model: .* meta device"):
            create_policy(name).apply_state_dict(ghost.state_dict(), target)
        assert same(numbers(target), before)


@every_policy
def test_missing_shards(name, tmp_path):
    bundle = TransferBundle.save(model(), tmp_path, task_name="t", task_config={},
                                 tokenizer_spec={}, max_shard_size=9000)
    shards = sorted(bundle.model_dir.glob("*.safetensors"))
    assert len(shards) > 2
    shards[1].unlink()
    target = model(seed=1)
    before = numbers(target)
    with pytest.raises(InputError, match=shards[1].name):
        TransferBundle.load(tmp_path)
    with pytest.raises(InputError, match=shards[1].name):
        load_state(bundle.model_dir)
    with pytest.raises(InputError, match=shards[1].name):
        create_policy(name).apply_bundle(bundle, target)
    assert same(numbers(target), before)


@pytest.mark.parametrize("wrong, said", [
    ({"keep": ["atn"]}, "did you mean 'attn'"), ({"keep": ["attn", 3]}, "unknown component"),
    ({"keep": True}, "keep"), ({"keep": 7}, "keep"), ({"keep": None, "layers": "2-4"}, "layers="),
    ({"layers": [-1]}, "layers="), ({"layers": [9]}, "has 2 layers"), ({"layers": "5:"}, "layers"),
    ({"heads": [9]}, "has 2 heads"), ({"heads": {9: [0]}}, "has 2 layers"),
    ({"heads": {}}, "layer numbers"),
    ({"heads": "all"}, "heads="),
    ({"embeddings": "fresch"}, "did you mean 'fresh'"), ({"positions": "mean"}, "positions"),
    ({"names": ["a"]}, "names="), ({"names": {"(": "a"}}, "names"), ({"depth": "stak"}, "stack"),
    ({"seed": 1.5}, "seed=1.5")], ids=str)
@pytest.mark.parametrize("name", COMPONENTS)
def test_unknown_components_and_options(name, wrong, said):
    target = model(seed=1)
    before = numbers(target)
    with pytest.raises(InputError, match=said):
        create_policy(name, **wrong).apply_state_dict(model().state_dict(), target)
    assert same(numbers(target), before)


@pytest.mark.parametrize("name", [name for name in POLICIES if name not in COMPONENTS])
def test_others_know_no_components(name):
    with pytest.raises(InputError, match="unknown option .*'keep'"):
        create_policy(name, keep=["attn"])


@every_policy
@pytest.mark.parametrize("source", [None, 3, "runs/dyck", [torch.ones(2)], {"a": 3}, {3: 1}],
                         ids=repr)
def test_what_is_no_state(name, source):
    target = model(seed=1)
    with pytest.raises(InputError, match="tensors"):
        create_policy(name).apply_state_dict(source, target)


@every_policy
@pytest.mark.parametrize("target", [None, "gpt2", {}, nn.Module()], ids=repr)
def test_what_is_no_model(name, target):
    with pytest.raises(InputError, match="model"):
        create_policy(name).apply_state_dict(model().state_dict(), target)


@every_policy
@pytest.mark.parametrize("bundle", [None, "runs/dyck", 3], ids=repr)
def test_what_is_no_bundle(name, bundle):
    with pytest.raises(InputError, match=r"TransferBundle\.load"):
        create_policy(name).apply_bundle(bundle, model())


@pytest.mark.parametrize("other, said", [
    ({}, None), ({"n_head": 4}, "n_head is 2 there and 4 here"),
    ({"activation_function": "relu"}, "activation_function is 'gelu_new' there and 'relu' here"),
    ({"vocab_size": 30, "n_positions": 32, "resid_pdrop": 0.0}, None)], ids=str)
def test_other_sums_with_the_same_numbers_are_told(tmp_path, other, said):
    bundle = TransferBundle.save(model(), tmp_path, task_name="t", task_config={},
                                 tokenizer_spec={})
    config = model().config.from_dict(model().config.to_dict() | other)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        bundle.policy.apply_bundle(bundle, AutoModelForCausalLM.from_config(config))
    assert [str(line.message) for line in told if "other sums" in str(line.message)] == \
        ([] if said is None else
         [f"the trained model does other sums with its numbers than the new one: {said}"])


def test_one_kind_of_model_read_as_another_is_told(tmp_path):
    bundle = TransferBundle.save(model("mistral"), tmp_path, task_name="t", task_config={},
                                 tokenizer_spec={})
    with pytest.warns(UserWarning, match="model_type is 'mistral' there and 'llama' here"):
        bundle.policy.apply_bundle(bundle, model("llama", seed=1))


def test_a_source_is_left_as_it_is():
    source = model().state_dict()
    before = copy.deepcopy(source)
    for name in POLICIES:
        create_policy(name).apply_state_dict(source, model(seed=1))
        assert same(source, before), name
