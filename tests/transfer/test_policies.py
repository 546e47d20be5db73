"""A policy is a value: equal, hashable, picklable, written as YAML, found by name; so are yours."""
from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import warnings

import pytest
import torch
import yaml

from pptrain.errors import InputError
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.transfer import (
    ComponentTransferPolicy,
    ReinitializeEmbeddingTransferPolicy,
    SkipParametersTransferPolicy,
    TransferBundle,
    TransferPolicy,
    create_policy,
    registered_policies,
)
from pptrain.vocab import TokenizerSpec

POLICIES = [
    TransferPolicy(),
    ReinitializeEmbeddingTransferPolicy(),
    ReinitializeEmbeddingTransferPolicy("match", positions="fresh"),
    SkipParametersTransferPolicy(),
    SkipParametersTransferPolicy(skip_parameter_names=["a: b"], prefixes=["no", "1"]),
    ComponentTransferPolicy(),
    ComponentTransferPolicy(["mlp"], layers=[3, 0]),
]
each = pytest.mark.parametrize("policy", POLICIES, ids=str)


@each
def test_yaml_round_trip(policy):
    text = str(policy)
    assert "\n" not in text
    assert create_policy(yaml.safe_load(text)) == policy == create_policy(text)
    assert create_policy(policy.to_dict()) == policy and create_policy(policy) is policy
    plain = yaml.safe_load(yaml.safe_dump(policy.to_dict()))
    assert plain == policy.to_dict() and plain["name"] == policy.name


@each
def test_equal_when_options_are(policy):
    twin = create_policy(policy.to_dict())
    assert twin == policy and hash(twin) == hash(policy) and twin is not policy
    others = [other for other in POLICIES if other is not policy]
    assert len({policy, twin, *others}) == len(POLICIES)
    assert all(policy != other for other in others)


@each
def test_frozen(policy):
    for field in vars(policy):
        with pytest.raises(AttributeError):
            setattr(policy, field, "changed")


def test_spelling_is_no_option():
    "Lists, tuples, order and repetition say the same."
    assert ComponentTransferPolicy(["mlp", "attn"] * 2) == ComponentTransferPolicy(("attn", "mlp"))
    assert ComponentTransferPolicy(layers=range(2)) == ComponentTransferPolicy(layers=[1, 0, 1])
    assert ComponentTransferPolicy(components=["ln"]) == create_policy("components", keep=["norm"])
    short = create_policy("skip_parameters", prefixes=["lm_head"])
    assert short == SkipParametersTransferPolicy(skip_parameter_prefixes=("lm_head",))
    assert create_policy("reinit_embeddings") == create_policy("reinitialize_embeddings")


def test_options_win_over_the_policy():
    mean = create_policy(ReinitializeEmbeddingTransferPolicy(positions="fresh"), embeddings="mean")
    assert mean == ReinitializeEmbeddingTransferPolicy("mean", "fresh")


def test_one_set_of_defaults():
    usual = ReinitializeEmbeddingTransferPolicy()
    assert (usual.embeddings, usual.positions) == ("fresh", "copy")
    assert TransferBundle("here", "t", {}, {}).policy == usual


@pytest.mark.parametrize("wrong, right", [
    ("reinitialise_embeddings", "reinitialize_embeddings"),
    ({"name": "component"}, "components"),
    ({"name": "components", "kep": ["attn"]}, "keep"),
    ({"name": "components", "keep": ["attention"]}, "attn"),
    ({"name": "components", "layers": ["0"]}, "layer numbers"),
    ({"name": "components", "layers": [True]}, "layer numbers"),
    ({"name": "components", "layers": 3.5}, "layer numbers"),
    ({"name": "reinitialize_embeddings", "embeddings": "frsh"}, "fresh"),
    ({"name": "reinitialize_embeddings", "embeddings": ["mean"]}, "mean"),
    ({"name": "reinitialize_embeddings", "positions": "cpy"}, "copy"),
    ({"name": "skip_parameters", "prefixes": "lm_head"}, "lists of names"),
    ({"name": "copy", "embeddings": "fresh"}, "option of copy"),
    ({"embeddings": "fresh"}, "mapping with a name"),
    ({"name": 3}, "mapping with a name"),
    (None, "mapping with a name"),
    ("{name: ", "not YAML"),
    ("{name: components, keep: [attn], keep: [mlp]}", "keep stands twice"),
])
def test_refusals(wrong, right):
    with pytest.raises(InputError, match=right) as refusal:
        create_policy(wrong)
    assert "\n" not in str(refusal.value)


def worker(policy, connection):
    connection.send((policy, str(policy), hash(policy) == hash(create_policy(str(policy)))))


def test_spawned_process_gets_the_same():
    here, there = multiprocessing.Pipe()
    everything = [*POLICIES, POLICIES[2].apply_state_dict]
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=worker, args=(POLICIES[2], there))
    process.start()
    assert here.poll(120)
    assert here.recv() == (POLICIES[2], str(POLICIES[2]), True)
    process.join()
    assert pickle.loads(pickle.dumps(everything[:-1])) == POLICIES
    assert pickle.loads(pickle.dumps(everything[-1])).__self__ == POLICIES[2]


def test_methods_are_at_home():
    for method in (TransferPolicy.apply_bundle, TransferPolicy.apply_state_dict,
                   TransferBundle.load, TransferBundle.save, TransferBundle.state_dict,
                   HFCausalLMAdapter.load_downstream_model):
        owner = method.__qualname__.split(".")[0]
        assert method.__qualname__ == f"{owner}.{method.__name__}"


# a policy written before this house, without dataclasses

class Halves(TransferPolicy):
    def __init__(self, every=2):
        self.every = every

    def leave(self, name, part):
        return "one of every few" if hash(name) % self.every else None


def test_a_plain_subclass_is_a_value_too():
    assert Halves(2) == Halves(2) != Halves(3) and len({Halves(2), Halves(2), Halves(3)}) == 2
    assert Halves(3).to_dict() == {"name": "Halves", "every": 3}
    assert pickle.loads(pickle.dumps(Halves(5))) == Halves(5)


# plug-ins: one new file each

PLUGIN = '''
from dataclasses import dataclass

import torch

from pptrain.corpora import Document, register_source
from pptrain.transfer import TransferPolicy, register_component, register_embedding_rule
from pptrain.transfer import register_policy


@register_policy("quiet_start")
@dataclass(frozen=True)
class QuietStart(TransferPolicy):
    "Everything crosses but biases, which stay as they are unless asked."
    biases: bool = False

    def leave(self, name, part):
        return "a bias" if name.endswith("bias") and not self.biases else None


@register_embedding_rule("zeros")
def zeros(trained, new):
    return torch.zeros_like(new), "zeros"


@register_component("queries")
def queries(name, part):
    return "q_proj" in name


@register_source("haiku")
def haiku(request):
    lines = ["old pond", "a frog jumps in", "the sound of water"]
    return [Document(line * 9, f"haiku/{n}") for n, line in enumerate(lines)], "haiku of 1686"
'''
PROGRAM = '''
from pptrain.corpora import load_corpus, registered_sources
from pptrain.transfer import ReinitializeEmbeddingTransferPolicy, create_policy, registered_policies
quiet = create_policy("quiet_start", biases=True)
assert "quiet_start" in registered_policies() and "haiku" in registered_sources()
assert create_policy(str(quiet)) == quiet
assert ReinitializeEmbeddingTransferPolicy("zeros").embeddings == "zeros"
assert create_policy("components", keep=["queries"]).keep == ("queries",)
print(quiet, load_corpus("haiku", eval_fraction=0.3).source)
'''


def test_plugins_appear_by_name(tmp_path, monkeypatch):
    (tmp_path / "mine_of_transfer.py").write_text(PLUGIN)
    monkeypatch.setenv("PPTRAIN_PLUGINS", str(tmp_path / "mine_of_transfer.py"))
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{name: quiet_start, biases: true} haiku of 1686"


# models in which things are tied, or not, or where nothing fits

@pytest.fixture(scope="module", params=["gpt2-2_2_16", "pythia-tiny", "llama-tiny"])
def pair(request):
    adapter = HFCausalLMAdapter(HFModelConfig(request.param))
    torch.manual_seed(0)
    source = adapter.create_prepretrain_model(TokenizerSpec(300, pad_token_id=0))
    return source.state_dict(), lambda: adapter.load_downstream_model(vocab_size=300)


@pytest.mark.parametrize("name", sorted(registered_policies()))
def test_every_policy_on_every_make(pair, name):
    "The report is true: what is said to cross is there, what is said to stay kept its bits."
    state, fresh = pair
    model = fresh()
    before = {n: p.detach().clone() for n, p in model.named_parameters(remove_duplicate=False)}
    report = create_policy(name).apply_state_dict(state, model)
    assert report.policy == create_policy(name).to_dict()
    after = dict(model.named_parameters(remove_duplicate=False))
    crossed = [fate.name for fate in report.fates if fate.outcome == "crosses"]
    changed = [n for n in report.filled_parameters if not torch.equal(after[n], before[n])]
    assert (report.loaded_parameter_count and crossed) or changed
    assert all(torch.equal(after[n], state[n]) for n in crossed)
    assert all(torch.equal(after[n], before[n]) for n in report.missing_parameters)
    assert set(after) == {*crossed, *report.missing_parameters, *report.filled_parameters}


def test_nothing_crossed_is_said(pair):
    _, fresh = pair
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = TransferPolicy().apply_state_dict({"other.weight": torch.zeros(2)}, fresh())
    assert report.loaded_parameter_count == 0 and "no parameter crossed" in str(caught[0].message)
