"""A donor is the same donor, as a state dict, a bundle, or any kind of path: tied or not."""
from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from pptrain.integrations import named
from pptrain.transfer import TransferBundle, create_policy, load_state, mix
from pptrain.views.inspector import inspect

SIZES = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
             num_key_value_heads=1, bos_token_id=0, eos_token_id=0, pad_token_id=0)
KINDS = ("gpt2", "llama", "gpt_neox", "mixtral")     # the last two are stored under other names


TARGETS = (("copy", 20, False), ("mean", 30, False), ("scaled", 30, True))


def model(kind, tied, ids=20, seed=0):
    torch.manual_seed(seed)
    more = {"num_local_experts": 2} if kind == "mixtral" else {}
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(
        kind, vocab_size=ids, tie_word_embeddings=tied, **SIZES, **more))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape))
    return made


def ways(donor, folder):
    "Everything that a donor can be given as."
    bundle = TransferBundle.save(donor, folder / "run", task_name="t", task_config={},
                                 tokenizer_spec={})
    donor.save_pretrained(folder / "hf")
    donor.save_pretrained(folder / "shards", max_shard_size="4KB")
    donor.save_pretrained(folder / "old" / "prepretrained_model")
    torch.save({"model": donor.state_dict()}, folder / "x.pt")
    told = {"model_dir": "prepretrained_model", "task_name": "t", "task_config": {},
            "tokenizer_spec": {}}
    (folder / "old" / "transfer_bundle.json").write_text(json.dumps(told))
    paths = ("run", "run/bundle/model", "hf", "hf/model.safetensors", "shards", "old", "x.pt")
    return {"bundle": bundle} | {path: folder / path for path in paths}


def same(one, other):
    return all(torch.equal(p, named(other)[name]) for name, p in named(one).items())


@pytest.mark.filterwarnings("ignore:policy")
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", KINDS)
def test_however_it_is_given(kind, tied, tmp_path):
    donor = model(kind, tied)
    for words, source in ways(donor, tmp_path).items():
        for rule, ids, target_tied in TARGETS:
            policy = create_policy("reinitialize_embeddings", embeddings=rule)
            wanted, by_way, mixed = (model(kind, target_tied, ids, seed=1) for _ in range(3))
            policy.apply_state_dict(donor.state_dict(), wanted)
            if words == "bundle":
                policy.apply_bundle(source, by_way)
            else:
                policy.apply_state_dict(load_state(source), by_way)
            mix({"attn+mlp+norm+position+other": source}, mixed, embeddings=rule)
            assert same(by_way, wanted) and same(mixed, wanted), (words, rule)


def test_the_inspector_knows_the_second_name(tmp_path):
    bundle = ways(model("gpt2", True), tmp_path)["bundle"]
    target = model("gpt2", False, seed=1)
    shown = inspect(bundle, target, {"name": "reinitialize_embeddings", "embeddings": "copy"})
    assert "lm_head.weight" in shown.source
