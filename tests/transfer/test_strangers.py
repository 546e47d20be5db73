"""What a stranger tries: tied and untied donors, memory that is shared, odd numbers, odd words."""
from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from pptrain.errors import InputError
from pptrain.integrations import named
from pptrain.transfer import TransferBundle, create_policy, load_state

UP, TABLE, HEAD = "model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight", "lm_head.weight"


def model(seed=0, kind="llama", tied=False, layers=2, **more):
    torch.manual_seed(seed)
    sizes = dict(vocab_size=20, hidden_size=16, num_hidden_layers=layers, num_attention_heads=4,
                 bos_token_id=0, eos_token_id=0, tie_word_embeddings=tied, **more)
    if kind != "gpt2":
        sizes |= dict(intermediate_size=32, num_key_value_heads=2)
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return made


def same(one, other):
    return all(torch.equal(p, named(other)[name]) for name, p in named(one).items())


@pytest.mark.parametrize("rule", ["copy", "mean", "scaled", "fresh"])
def test_a_bundle_remembers_that_its_head_was_its_table(rule, tmp_path):
    donor = model(tied=True)
    TransferBundle.save(donor, tmp_path, task_name="t", task_config={}, tokenizer_spec={})
    policy = create_policy("reinitialize_embeddings", embeddings=rule)
    by_bundle, by_state = model(1), model(1)
    policy.apply_bundle(TransferBundle.load(tmp_path), by_bundle)
    policy.apply_state_dict(donor.state_dict(), by_state)
    assert same(by_bundle, by_state)
    assert torch.equal(by_bundle.lm_head.weight, donor.lm_head.weight) == (rule == "copy")


def test_a_tied_table_gets_the_table_whatever_comes_first():
    state = model().state_dict()
    for order in (list, reversed):
        target = model(1, tied=True)
        report = create_policy("copy").apply_state_dict(
            {name: state[name] for name in order(list(state))}, target)
        assert torch.equal(target.lm_head.weight, state[TABLE])
        told = {fate.name: fate for fate in report.fates}
        assert told[TABLE].elements == 320 and told[HEAD].elements == 0
        assert told[HEAD].before == told[TABLE].before != told[HEAD].after


def test_a_rule_fills_both_names_and_is_counted_once():
    report = create_policy("reinitialize_embeddings", embeddings="mean").apply_state_dict(
        model().state_dict(), model(1, tied=True))
    outcomes = {fate.name: fate.outcome for fate in report.fates}
    assert outcomes[TABLE] == outcomes[HEAD] == "filled" and report.filled_parameters == [TABLE]


@pytest.mark.parametrize("policy", [
    {"name": "components", "keep": ["mlp"], "depth": [1, 0]},
    {"name": "layer_shuffled", "order": "layers"}, "random_heads"], ids=str)
def test_a_model_may_be_its_own_donor(policy):
    one, other = model(), model()
    create_policy(policy).apply_state_dict(one.state_dict(), one)
    create_policy(policy).apply_state_dict(model().state_dict(), other)
    assert same(one, other) and not same(one, model())


@pytest.mark.parametrize("name", ["statistics", "layer_shuffled", "random_weights"])
def test_a_control_carries_no_trained_rows(name):
    "Neither positions of another length, nor tables that are kept."
    donor, target = model(kind="gpt2", n_positions=16), model(1, kind="gpt2", n_positions=24)
    own = target.transformer.wpe.weight.detach().clone()
    report = create_policy(name, keep=["position", "embed"]).apply_state_dict(
        donor.state_dict(), target)
    now = target.transformer.wpe.weight
    assert torch.equal(now[16:], own[16:]) and (now[:16] != own[:16]).any()
    assert not torch.equal(now[:16], donor.transformer.wpe.weight)
    assert not torch.equal(target.transformer.wte.weight, donor.transformer.wte.weight)
    written = {fate.name: fate.elements for fate in report.fates}
    assert written["transformer.wpe.weight"] == 16 * 16


@pytest.mark.parametrize("wrong, said", [
    (torch.ones(32, 16).to_sparse(), "sparse"), (torch.full((32, 16), 1e6), "do not fit into")],
    ids=["sparse", "too large"])
def test_numbers_that_cannot_cross(wrong, said):
    target = model(1).to(torch.float16)
    before = {name: p.detach().clone() for name, p in named(target).items()}
    with pytest.raises(InputError, match=said):
        create_policy("copy").apply_state_dict({**model().state_dict(), UP: wrong}, target)
    assert all(torch.equal(p, before[name]) for name, p in named(target).items())


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.bool])
def test_what_is_no_weight_stays(dtype):
    target = model(1)
    report = create_policy("copy").apply_state_dict(
        {**model().state_dict(), UP: torch.ones(32, 16, dtype=dtype)}, target)
    assert UP in report.skipped_parameters and str(dtype) in report.reasons[UP]


@pytest.mark.parametrize("rule", ["mean", "match", "sampled", "scaled", "copy"])
def test_an_empty_table_fills_nothing(rule):
    target = model(1)
    create_policy("reinitialize_embeddings", embeddings=rule).apply_state_dict(
        {**model().state_dict(), TABLE: torch.ones(0, 16), HEAD: torch.ones(0, 16)}, target)
    assert torch.equal(target.lm_head.weight, model(1).lm_head.weight)


@pytest.mark.parametrize("options, said", [
    ({"layers": "7:3"}, "none of them"), ({"layers": []}, "no layer"),
    ({"heads": {5: [0]}}, "2 layers"), ({"heads": {}}, "heads="), ({"heads": {-1: [0]}}, "heads="),
    ({"heads": [0], "keep": ["mlp"]}, "only attention")], ids=str)
def test_words_that_choose_nothing(options, said):
    with pytest.raises(InputError, match=said):
        create_policy("components", **{"keep": ["attn"], **options}).apply_state_dict(
            model().state_dict(), model(1))


def test_heads_by_layer_survive_json():
    policy = create_policy("components", keep=["attn"], heads={"1": [2]})
    assert policy == create_policy("components", keep=["attn"], heads={1: [2]})


def test_a_norm_behind_the_table_is_not_the_last():
    donor, target = model(kind="bloom"), model(1, kind="bloom")
    report = create_policy("components", keep=["final_norm"]).apply_state_dict(
        donor.state_dict(), target)
    assert report.loaded_element_count == 32
    assert not torch.equal(target.transformer.word_embeddings_layernorm.weight,
                           donor.transformer.word_embeddings_layernorm.weight)


def test_any_text_is_refused_as_a_checkpoint(tmp_path):
    for words in ("hello", "", "{}", "\x80\x02"):
        (tmp_path / "t.pt").write_text(words)
        with pytest.raises(InputError, match=r"t\.pt"):
            load_state(tmp_path / "t.pt")
