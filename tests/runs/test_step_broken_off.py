"""Ctrl-C does not wait for the end of a step of many batches; the step is made again, as it was."""
from __future__ import annotations

import signal
from math import isclose
from pathlib import Path

import pytest
from pptrain.core import create_task
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.runs import PrePreTrainer, RunConfig
from transformers import TrainerCallback


class CtrlC(TrainerCallback):
    "Asks to stop behind the second batch of the step after `step`, and counts the batches."

    def __init__(self, step: int | None) -> None:
        self.step, self.batches, self.asked_at = step, 0, None

    def on_substep_end(self, args, state, control, **more):
        self.batches += 1
        if state.global_step == self.step and self.batches % 3 == 2:
            signal.raise_signal(signal.SIGINT)
            self.asked_at = self.batches


def trained(out: Path, stop: CtrlC, **settings):
    "A run of 8 steps of four batches each; the model has dropout."
    task = create_task("procedural", {"preset": "smoke", "eval_sequence_count": 8})
    small = HFModelConfig("gpt2-1_2_16", config_overrides={"n_positions": 64})
    sizes = dict(max_steps=8, eval_steps=4, save_steps=4, logging_steps=4,
                 per_device_train_batch_size=2, gradient_accumulation_steps=4)
    config = RunConfig(out, **{**sizes, **settings})
    return PrePreTrainer(task, HFCausalLMAdapter(small), config, callbacks=[stop]).fit()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("undisturbed") / "run", CtrlC(None))


def same(run, other):
    "Weights, tokens and measurements; the mean of training losses up to the last bit."
    loss, its = run.metrics.pop("train_loss"), other.metrics["train_loss"]
    assert isclose(loss, its, rel_tol=1e-6)
    assert run.metrics == {k: v for k, v in other.metrics.items() if k != "train_loss"}
    rows, its = (r.history() for r in (run, other))
    measured = [row[row.metric.str.startswith("eval")].to_csv() for row in (rows, its)]
    assert len(rows) >= len(its) and measured[0].count("\n") == measured[1].count("\n")


@pytest.mark.parametrize("step", [4, 5])
def test_a_step_that_was_broken_off_is_made_again(tmp_path, undisturbed, step):
    "Twice: behind the same step nothing new is saved, and what was stays."
    for _ in range(2):
        stop = CtrlC(step)
        with pytest.raises(KeyboardInterrupt, match=f"stopped at step {step}; the state is saved"):
            trained(tmp_path / "run", stop)
        assert stop.batches == stop.asked_at           # the batches behind it were not waited for
        names = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
        assert names == sorted({"checkpoint-4", f"checkpoint-{step}"})
    same(trained(tmp_path / "run", CtrlC(None)), undisturbed)


def test_in_the_first_step_nothing_is_kept(tmp_path, undisturbed):
    with pytest.raises(KeyboardInterrupt, match="before anything was saved"):
        trained(tmp_path / "run", CtrlC(0))
    assert not list((tmp_path / "run").glob("checkpoint-*"))
    same(trained(tmp_path / "run", CtrlC(None)), undisturbed)


def test_an_epoch_that_was_broken_off_is_not_measured(tmp_path):
    epochs = dict(eval_strategy="epoch", save_strategy="epoch", logging_strategy="epoch",
                  max_steps=-1, num_train_epochs=2, per_device_train_batch_size=32)
    whole = trained(tmp_path / "whole", CtrlC(None), **epochs)
    with pytest.raises(KeyboardInterrupt, match="stopped at step 3"):
        trained(tmp_path / "run", CtrlC(3), **epochs)
    same(trained(tmp_path / "run", CtrlC(None), **epochs), whole)
