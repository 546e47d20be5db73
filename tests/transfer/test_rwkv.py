"""RWKV changes its weights in place in eval mode: neither a bundle nor a transfer may see that."""
from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, TrainerCallback

from pptrain import PrePreTrainer, RunConfig, create_task
from pptrain.integrations import VocabSizeCausalLMAdapter, named, plain_state, weights_sha256
from pptrain.transfer import TransferBundle, create_policy, registered_policies

IDS = torch.arange(12).view(2, 6)


def model(ids=50, seed=0, every=1):
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(
        "rwkv", hidden_size=16, num_hidden_layers=3, vocab_size=ids, rescale_every=every,
        intermediate_size=32))


def asked(one):
    "The same, after a question in eval mode; its weights are other numbers then."
    before = {name: p.detach().clone() for name, p in named(one).items()}
    one.eval()(IDS)
    assert any(not torch.equal(p, before[name]) for name, p in named(one).items())
    return one


def test_a_bundle_of_a_model_that_was_asked(tmp_path):
    bundle = TransferBundle.save(asked(model()), tmp_path, task_name="t", task_config={},
                                 tokenizer_spec={})
    assert bundle.weights_sha256 == weights_sha256(plain_state(model()))
    again = AutoModelForCausalLM.from_pretrained(bundle.model_dir).eval()
    assert torch.equal(again(IDS).logits, model().eval()(IDS).logits)


@pytest.mark.filterwarnings("ignore:policy")
@pytest.mark.parametrize("name", registered_policies())
def test_a_target_that_was_asked(name):
    rested, used = model(seed=1), asked(model(seed=1))
    for target in (rested, used):
        create_policy(name).apply_state_dict(plain_state(model()), target)
        target.train()(IDS)
    assert all(torch.equal(p, named(used)[name]) for name, p in named(rested).items())


class Cut(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        if state.global_step == 5:
            raise RuntimeError("power cut")


def trained(folder, every, callbacks=()):
    adapter = VocabSizeCausalLMAdapter(create_prepretrain_model=lambda ids: model(ids, every=every),
                                       load_downstream_model=model)
    settings = RunConfig(folder, max_steps=6, save_steps=2, eval_steps=2, logging_steps=2,
                         eval_strategy="steps", per_device_train_batch_size=2,
                         gradient_accumulation_steps=1, use_cpu=True)
    task = create_task("dyck", preset="smoke")
    run = PrePreTrainer(task, adapter, settings, callbacks=callbacks).fit()
    return run.metrics["weights_sha256"]


def test_a_run_is_the_same_however_often_it_is_measured_and_cut(tmp_path):
    wanted = trained(tmp_path / "never", every=0)        # a model that changes nothing
    assert trained(tmp_path / "every", every=1) == wanted
    with pytest.raises(RuntimeError):
        trained(tmp_path / "cut", every=1, callbacks=[Cut()])
    assert trained(tmp_path / "cut", every=1) == wanted
