"""A setting changes what it says it changes, and nothing is left out of what is told."""
from __future__ import annotations

import math

import pytest

from pptrain.core import create_task
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.runs import PrePreTrainer, RunConfig


def run_of(folder, **fields):
    "Four steps on brackets, one batch each; whose preset advises a constant rate."
    usual = dict(max_steps=4, per_device_train_batch_size=4, gradient_accumulation_steps=1,
                 learning_rate=1e-2, use_cpu=True, disable_tqdm=True)
    config = RunConfig(folder, **(usual | fields))
    adapter = HFCausalLMAdapter(HFModelConfig("gpt2-1_2_8"))
    return PrePreTrainer(create_task("dyck", preset="smoke"), adapter, config).fit()


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("usual"), logging_steps=1)


@pytest.mark.parametrize("fields", [
    dict(save_strategy="no", logging_steps=3), dict(save_strategy="no", logging_steps=100),
    dict(logging_strategy="no"), dict(save_strategy="no", logging_strategy="no")])
def test_the_training_loss_is_that_of_all_steps(fields, usual, tmp_path):
    run = run_of(tmp_path, **fields)
    assert run.metrics["weights_sha256"] == usual.metrics["weights_sha256"]
    assert math.isclose(run.metrics["train_loss"], usual.metrics["train_loss"], rel_tol=1e-6)
    assert (run.history().step == 4).any()


def test_a_warm_up_is_obeyed_where_a_preset_advises_a_constant_rate(usual, tmp_path):
    run = run_of(tmp_path, warmup_steps=2, logging_steps=1)
    rates = run.history().query("metric == 'learning_rate'").value.to_list()
    assert rates[0] < rates[-1] == 1e-2
    assert run.metrics["weights_sha256"] != usual.metrics["weights_sha256"]
