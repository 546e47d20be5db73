"""An inspector beside real models: it shows what the transfer does, and changes no bit."""
from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.transfer import TransferBundle, TransferPolicy, register_policy
from pptrain.views.inspector import (elements_by_kind, inspect, layer_prefixes, parameter_fates,
                                     policy_choices, skip_from)
from pptrain.vocab import TokenizerSpec

torch.set_num_threads(1)
UNNAMED = dict(task_name="t", task_config={}, tokenizer_spec={})


def text_model(name):
    "A text model of this size with 300 ids."
    return HFCausalLMAdapter(HFModelConfig(name)).load_downstream_model(vocab_size=300)


PAIRS = [("gpt2-2_2_16", "gpt2-3_2_16"), ("llama-tiny", "llama-tiny"),
         ("pythia-tiny", "pythia-tiny")]


@pytest.mark.parametrize("small, large", PAIRS)
def test_inspector_changes_no_bit(tmp_path, small, large):
    torch.manual_seed(0)
    synthetic = TokenizerSpec(300, pad_token_id=0)
    trained = HFCausalLMAdapter(HFModelConfig(small)).create_prepretrain_model(synthetic)
    model = text_model(large)
    bundle = TransferBundle.save(trained, tmp_path, **UNNAMED)
    before = {n: t.clone() for n, t in model.state_dict(keep_vars=False).items()}
    places = [p.data_ptr() for p in model.parameters()]
    view = inspect(tmp_path, model)
    view.static(), view.to_html()
    choice, start, *_ = view.widget().children[0].children
    for name in choice.options:
        choice.value = name
    start.value = 1
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert places == [p.data_ptr() for p in model.parameters()]

    whole = sum(p.numel() for p in model.parameters())
    state = bundle.state_dict()
    for policy in [*policy_choices().values(), skip_from(model, 1)]:
        counts = elements_by_kind(parameter_fates(policy, state, model))
        absent = counts.pop("absent", 0)
        assert sum(counts.values()) == whole, (absent, counts)          # each number has one fate,
        report = policy.apply_bundle(bundle, text_model(large))
        assert report.loaded_element_count == counts.get("crosses", 0)  # and it is the real one


def test_layer_prefixes_do_not_swallow_their_neighbours():
    model = HFCausalLMAdapter(HFModelConfig("gpt2-12_2_4")).load_downstream_model(vocab_size=10)
    assert len(layer_prefixes(model, 10)) == 2 and len(layer_prefixes(model, 1)) == 11
    assert skip_from(model, 1).leave("transformer.h.0.ln_1.weight", "ln") is None


def test_inspector_of_a_model_without_layers(tmp_path):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = torch.nn.Embedding(9, 4)
            self.head = torch.nn.Linear(4, 9)

    TransferBundle.save(Plain(), tmp_path, **UNNAMED)
    markup = inspect(tmp_path, Plain(), TransferPolicy()).static().markup
    assert "outside the layers" in markup and "head" in markup
    assert inspect(tmp_path, Plain()).widget()


def test_a_registered_policy_is_a_choice(tmp_path):
    @register_policy("first_layer_only")
    @dataclass(frozen=True)
    class FirstLayerOnly(TransferPolicy):
        "A policy of somebody else's."
        def leave(self, name, part):
            return None if ".0." in name else "not the first layer"

    model = text_model("gpt2-2_2_16")
    TransferBundle.save(text_model("gpt2-2_2_16"), tmp_path, **UNNAMED)
    view = inspect(tmp_path, model, "first_layer_only")
    assert "first_layer_only" in view.policies() and "first_layer_only" in view.overview()
    kinds = {row.layer: row.kind for row in view.fates(view.policies()["first_layer_only"])}
    assert kinds == {None: "skipped", 0: "crosses", 1: "skipped"}
