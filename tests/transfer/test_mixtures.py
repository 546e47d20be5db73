"""Two donors: in Python, a recipe, on the command line, in an arm of a study; what is refused."""
from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

from pptrain.cli import main
from pptrain.errors import InputError
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig, named, pieces
from pptrain.study import StudyConfig, run_study
from pptrain.study.variants import StudySetup, run_variant
from pptrain.transfer import TransferBundle, create_policy, mix
from pptrain.vocab import TokenizerSpec

FIELDS = {"n_positions": 64, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
ADAPTER = HFCausalLMAdapter(HFModelConfig("gpt2-2_2_16", config_overrides=FIELDS))


def noisy(model, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model


def donor(seed, ids=12, adapter=ADAPTER):
    return noisy(adapter.create_prepretrain_model(TokenizerSpec(ids)), seed)


def target():
    torch.manual_seed(9)
    return ADAPTER.load_downstream_model(vocab_size=300)


def save(model, folder, name="procedural"):
    TransferBundle.save(model, folder, task_name=name, task_config={}, tokenizer_spec={})
    return str(folder)


def numbers(model):
    return {name: p.detach().clone() for name, p in named(model).items()}


def origins(model, donors, before):
    "Word → the names of parameters that are wholly of that donor."
    states = {word: numbers(one) for word, one in donors.items()} | {"own": before}
    found = {word: set() for word in states}
    for name, now in numbers(model).items():
        for word, state in states.items():
            if state[name].shape == now.shape and torch.equal(state[name], now):
                found[word].add(name)
    return found


def test_each_number_has_one_donor(tmp_path):
    first, second, model = donor(1), donor(2, ids=40), target()
    before = numbers(model)
    policy = create_policy("mix", donors={"mlp+attn_norm": "trained",
                                          "attn": save(first, tmp_path / "a")})
    report = policy.apply_state_dict(second.state_dict(), model)
    of = origins(model, {"first": first, "second": second}, before)
    assert of["first"] == {n for n in before if ".attn." in n}
    assert of["second"] == {n for n in before if ".mlp." in n or ".ln_1." in n}
    assert of["own"] == set(before) - of["first"] - of["second"]
    assert report.loaded_parameter_count == len(of["first"]) + len(of["second"])
    assert report.loaded_element_count == sum(before[n].numel() for n in of["first"] | of["second"])
    assert {f.why for f in report.fates if f.name in of["first"]} == {f"from {tmp_path / 'a'}"}
    again = numbers(model)
    policy.apply_state_dict(second.state_dict(), model)
    assert all(torch.equal(p, again[n]) for n, p in numbers(model).items())


@pytest.mark.parametrize("options", [{}, {"layers": "-1:"}, {"heads": [1]}, {"layers": [0],
                                                                            "heads": [0]}], ids=str)
def test_halves_of_a_fused_matrix(options):
    "Scores of one, results of another, in the layers and heads asked for."
    first, second, model = donor(1), donor(2), target()
    before, one, two = numbers(model), numbers(first), numbers(second)
    report = mix({"attn_qk": first.state_dict(), "attn_vo": second.state_dict()}, model, **options)
    layers = {"-1:": [1], None: [0, 1]}.get(options.get("layers") if not isinstance(
        options.get("layers"), list) else "", options.get("layers"))
    count = 0
    for name, found in pieces(model).items():
        now = numbers(model)[name]
        for piece in found:
            state = {"q": one, "k": one, "v": two, "o": two}.get(piece.role, before)
            if piece.layer not in layers or piece.part != "attn":
                state = before
            if "heads" in options and not set(piece.heads) & set(options["heads"]):
                state = before
            assert torch.equal(piece.of(now), piece.of(state[name])), piece
            count += piece.of(now).numel() * (state is not before)
    assert report.loaded_element_count == count > 0
    assert all(f.elements <= before[f.name].numel() for f in report.fates if f.elements)


@pytest.mark.parametrize("rule", ["scaled", "mean", "match", "sampled", "fresh(0.5)"])
@pytest.mark.parametrize("reader", ["attn", "mlp", "mlp+embed"])
def test_a_rule_reads_one_donor(rule, reader, tmp_path):
    "The one whose key has `embed`, else the first; and the table is counted once."
    first, second = donor(1), donor(2, ids=40)
    keys = {"mlp+embed": ("attn", "mlp+embed"), "mlp": ("mlp", "norm"), "attn": ("attn", "mlp")}
    wanted = second if reader == "mlp+embed" else first
    donors = {keys[reader][0]: save(first, tmp_path / "a"), keys[reader][1]: "trained"}
    model, alone = target(), target()
    policy = create_policy("mix", donors=donors, embeddings=rule)
    report = policy.apply_state_dict(second.state_dict(), model)
    create_policy("components", keep=[], embeddings=rule).apply_state_dict(
        wanted.state_dict(), alone)
    assert torch.equal(model.lm_head.weight, alone.lm_head.weight)
    table = [f for f in report.fates if f.part == "embed" and f.elements]
    assert [f.elements for f in table] == [300 * 16] and report.filled_parameters == [table[0].name]


def test_a_policy_is_a_value(tmp_path):
    one = create_policy("mix", donors={"norm+mlp": "trained", ("attn",): tmp_path})
    two = create_policy({"name": "mix", "donors": {"attn": str(tmp_path), "mlp + ln": "trained"}})
    assert one == two and hash(one) == hash(two) and str(one) == str(two)
    assert create_policy(str(one)) == one == create_policy(one.to_dict())
    assert create_policy(one, layers="0:1").layers == "0:1" and one.layers is None


def test_a_bundle_names_what_it_can_do_alone(tmp_path):
    "No path of another donor travels with it."
    policy = create_policy("mix", donors={"attn": str(tmp_path / "x"), "mlp": "trained"}, seed=3)
    bundle = TransferBundle.save(donor(1), tmp_path, task_name="t", task_config={},
                                 tokenizer_spec={}, transfer_policy=policy)
    assert bundle.policy == create_policy("components", keep=["mlp"], seed=3)
    assert str(tmp_path) not in (bundle.path / "bundle.json").read_text()
    other = create_policy("mix", donors={"attn": str(tmp_path / "x")})
    assert other.alone() == create_policy("reinitialize_embeddings")


def narrow():
    fields = FIELDS | {"n_embd": 8}
    return donor(1, adapter=HFCausalLMAdapter(HFModelConfig("gpt2-2_2_16",
                                                            config_overrides=fields)))


def llama():
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(
        "llama", hidden_size=16, num_hidden_layers=2, num_attention_heads=2, vocab_size=20,
        intermediate_size=32, num_key_value_heads=2))


REFUSED = {
    "another width": (narrow, "attn", r"mix: attn of .* does not fit: transformer\.h\.0\.attn"),
    "another architecture": (llama, "mlp", "mix: no mlp crosses from .*new model's architecture"),
    "a component of nobody": (lambda: donor(1), "other", "mix: no other crosses"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("way", ["policy", "mix"])
def test_what_does_not_fit(case, way, tmp_path):
    make, key, said = REFUSED[case]
    path, model = save(make(), tmp_path), target()
    before = numbers(model)
    with pytest.raises(InputError, match=said) as caught:
        if way == "mix":
            mix({key: path, "norm": donor(2).state_dict()}, model)
        else:
            create_policy("mix", donors={key: path, "norm": "trained"}).apply_state_dict(
                donor(2).state_dict(), model)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(p, before[n]) for n, p in numbers(model).items())


@pytest.mark.parametrize("donors, said", [
    ({"attn": "trained", "attn_qk": "x"}, "'attn' and 'attn_qk' both claim"),
    ({"attn+mlp": "trained", "mlp+norm": "x"}, "both claim"),
    ({"norm": "trained", "attn_norm": "x"}, "both claim"),
    ({"final_norm": "x", "ln": "trained"}, "both claim"),
    ({"mlp": "x", ("mlp",): "y"}, "mlp again"),
    ({"attn": None, "mlp": "x"}, "attn has no donor"), ({"attn": ""}, "attn has no donor"),
    ({"attn": {"path": "x"}}, "attn has no donor"), ({"attn": 3}, "attn has no donor"),
    ({"atn": "x"}, "did you mean 'attn'"), ({"attn+": "x"}, "unknown component"),
    ({"": "x"}, "component"), ({3: "x"}, "keep"), ({}, "must map"), ("attn", "must map"),
    (["attn"], "must map")], ids=str)
def test_refused_before_there_is_a_model(donors, said):
    with pytest.raises(InputError, match=said) as caught:
        create_policy("mix", donors=donors)
    assert "\n" not in str(caught.value)


def test_other_refusals(tmp_path):
    for options, said in (({"keep": ["mlp"], "donors": {"attn": "trained"}}, "leave keep out"),
                          ({"donor": {}}, "did you mean 'donors'"), ({"layers": "2-4"}, "layers=")):
        with pytest.raises(InputError, match=said):
            create_policy("mix", **options)
    broken = donor(1)
    with torch.no_grad():
        broken.transformer.h[0].mlp.c_fc.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"NaN.*h\.0\.mlp"):
        mix({"mlp": broken.state_dict(), "attn": donor(2).state_dict()}, target())
    with pytest.raises(InputError, match="is no model"):
        mix({"mlp": broken.state_dict()}, None)
    with pytest.raises(InputError, match="is no state"):
        mix({"mlp": {"a": 3}}, target())
    path = save(donor(1), tmp_path)
    next((tmp_path / "bundle" / "model").glob("*.safetensors")).unlink()
    with pytest.raises(InputError, match="the donor of mlp: .*model.safetensors is missing"):
        mix({"mlp": path}, target())


TEXT = {"corpus": "docs", "max_bytes": 60_000, "vocab_size": 300, "max_length": 32,
        "train_steps": 2, "batch_size": 2, "eval_every": 2, "warmup_steps": 0, "eval_blocks": 2,
        "compare_baseline": False}


def files(tmp_path, donors):
    "A config for `pptrain fit`, and the text stage with a mixture."
    fit, text = tmp_path / "fit.yaml", tmp_path / "eval.yaml"
    fit.write_text(yaml.safe_dump({
        "task": {"name": "dyck", "config": {"preset": "smoke"}},
        "run": {"output_dir": str(tmp_path / "run"), "max_steps": 2, "use_cpu": True},
        "model": {"model_name_or_path": "gpt2-2_2_16",
                  "config_overrides": {**FIELDS, "n_positions": 256}}}))
    text.write_text(yaml.safe_dump({**TEXT, "policy": {"name": "mix", "donors": donors}}))
    return ["fit", str(fit), "--eval-config", str(text)]


def test_on_the_command_line(tmp_path, capsys):
    path = save(donor(1), tmp_path / "sets")
    assert main(files(tmp_path, {"attn": path, "mlp+norm": "trained"})) == 0
    told = json.loads((tmp_path / "run" / "eval" / "comparison.json").read_text())
    assert told["transfer_report"]["policy"]["donors"] == {"attn": path, "mlp+norm": "trained"}
    assert told["transfer_report"]["loaded_parameter_count"] == 26
    assert told["transferred"]["curve"][-1]["step"] == 2


@pytest.mark.parametrize("donors", [
    {"attn": "no/such", "mlp": "trained"}, {"attn": "narrow", "mlp": "trained"},
    {"attn": "trained", "attn_vo": "sets"}], ids=str)
def test_refused_before_any_training(tmp_path, capsys, donors):
    save(narrow(), tmp_path / "narrow")
    save(donor(1), tmp_path / "sets")
    there = {key: str(tmp_path / one) if one != "trained" else one for key, one in donors.items()}
    assert main(files(tmp_path, there)) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and re.match(r"error: mix: ", said[0])
    assert not (tmp_path / "run").exists()


def test_a_freeze_is_tried_too(tmp_path, capsys):
    asked = files(tmp_path, {"attn": save(donor(1), tmp_path / "sets")})
    text = yaml.safe_load((tmp_path / "eval.yaml").read_text())
    (tmp_path / "eval.yaml").write_text(yaml.safe_dump({**text, "freeze": {"parameters": ["mlp"]}}))
    assert main(asked) == 2
    assert capsys.readouterr().err.startswith("error: freeze: nothing of")
    assert not (tmp_path / "run").exists()


STUDY = StudyConfig(
    "mixtures", "procedural", "smoke", corpus="docs", corpus_bytes=120_000, vocab_size=384,
    model="gpt2-2_2_16", block_size=64, batch_size=4, synthetic_steps=3, text_steps=3,
    eval_every=3, eval_blocks=8, warmup_steps=0)


def test_an_arm_of_a_study(tmp_path):
    path = save(donor(1), tmp_path / "sets")
    arms = {"two_donors": {"name": "mix", "donors": {"attn": path, "mlp": "trained"}},
            "attention": {"name": "components", "keep": ["mlp"]}}
    table = run_study(replace(STUDY, arms=arms), tmp_path / "study", [1], ["scratch"],
                      say=lambda line: None)
    ends = table[table.metric == "eval_loss"].groupby("variant").value.last()
    assert len(set(ends)) == 3
    said = json.loads((tmp_path / "study" / "facts.json").read_text())
    assert path in json.dumps(said)


@pytest.mark.parametrize("settings, said", [
    ({"arms": {"x": {"name": "mix", "donors": {"attn": "no/such", "mlp": "trained"}}}},
     "mix: the donor of attn"),
    ({"arms": {"x": {"name": "components", "layers": [7]}}}, "has 2 layers"),
    ({"policy": {"name": "components", "keep": ["other"]}}, "nothing crosses"),
    ({"policy": {"name": "components", "keep": ["attn"]}, "freeze": {"parameters": ["mlp"]}},
     "freeze: nothing of")], ids=str)
def test_a_study_refuses_before_it_trains(tmp_path, settings, said):
    with pytest.raises(InputError, match=said):
        run_study(replace(STUDY, **settings), tmp_path, [1], ["scratch", "transferred"])
    assert not list(tmp_path.glob("warm-up*")) and not list(tmp_path.glob("rows*"))


def donor_study(path, **changes):
    mixed = {"name": "mix", "donors": {"attn": str(path), "mlp": "trained"}}
    arms = {"plain": mixed, "parts": {"policy": mixed, "embeddings": "mean"}}
    return replace(STUDY, **{"arms": arms, "policy": mixed, **changes})


@pytest.mark.parametrize("changes", [{}, {"arms": {}}, {"policy": "copy"}], ids=str)
def test_a_study_counts_what_a_donor_holds_not_where_it_lies(tmp_path, changes):
    first, second = donor(1), donor(2)
    save(first, tmp_path / "a")
    first.save_pretrained(tmp_path / "b")               # the same weights, another kind of folder
    settings = {name: StudySetup(donor_study(tmp_path / name, **changes), tmp_path).settings_hash
                for name in "ab"}
    assert settings["a"] == settings["b"]
    save(second, tmp_path / "a")                        # other weights at the same path
    now = StudySetup(donor_study(tmp_path / "a", **changes), tmp_path).settings_hash
    assert now != settings["a"]


def test_rows_of_another_donor_are_not_read_back(tmp_path):
    arms = {"two": {"name": "mix", "donors": {"attn": save(donor(1), tmp_path / "sets"),
                                              "mlp": "trained"}}}
    def rows(where):
        return run_variant(StudySetup(replace(STUDY, arms=arms), where), "two", 1)
    first = rows(tmp_path / "study")
    assert rows(tmp_path / "study") == first
    save(donor(2), tmp_path / "sets")
    with pytest.raises(InputError, match="made under other settings"):
        rows(tmp_path / "study")
    assert rows(tmp_path / "new")[0]["settings"] != first[0]["settings"]
