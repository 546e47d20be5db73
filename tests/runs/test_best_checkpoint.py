"""A run that ends with its best checkpoint says the numbers of those weights."""
from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, TrainerCallback

from pptrain import InputError, PrePreTrainer, RunConfig, create_task
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.measure import perplexity

STEPS = dict(max_steps=6, save_steps=2, eval_steps=2, logging_steps=1, learning_rate=.3,
             per_device_train_batch_size=4)
WORST = dict(load_best_model_at_end=True, greater_is_better=True)     # the first of a falling loss


class Die(TrainerCallback):
    "Ends the process of training, as far as a test can, before a step or after the last one."
    def __init__(self, step: int):
        self.step = step

    def on_step_begin(self, args, state, control, **more):
        if state.global_step == self.step:
            raise RuntimeError("killed")

    def on_train_end(self, args, state, control, **more):
        self.on_step_begin(args, state, control)


def run(folder: Path, callbacks=(), **settings):
    task = create_task("procedural", preset="smoke", eval_sequence_count=8)
    model = HFCausalLMAdapter(HFModelConfig("gpt2-1_2_16"))
    return PrePreTrainer(task, model, RunConfig(folder, **{**STEPS, **settings}),
                         callbacks=callbacks).fit()


@pytest.fixture(scope="module")
def best(tmp_path_factory):
    return run(tmp_path_factory.mktemp("best"), **WORST)


def test_the_loss_is_that_of_the_weights_in_the_bundle(best):
    history = best.history()
    losses = history[history.metric == "eval_loss"].value.tolist()
    assert best.metrics["eval_loss"] == max(losses) == losses[0] > losses[-1]
    rows = create_task("procedural", preset="smoke", eval_sequence_count=8).build_datasets(42)
    model = AutoModelForCausalLM.from_pretrained(best.model_dir)
    assert perplexity(model, rows.eval_dataset)["loss"] == pytest.approx(max(losses), abs=1e-6)


@pytest.mark.parametrize("step", [3, 6])
def test_a_run_that_goes_on_ends_with_the_same_best(tmp_path, best, step):
    with pytest.raises(RuntimeError):
        run(tmp_path / "a", [Die(step)], **WORST)
    (tmp_path / "a").rename(tmp_path / "moved")
    again = run(tmp_path / "moved", **WORST)
    assert again.metrics == best.metrics


def test_a_best_checkpoint_that_is_gone_is_named(tmp_path):
    with pytest.raises(RuntimeError):
        run(tmp_path, [Die(5)], **WORST)
    shutil.rmtree(tmp_path / "checkpoint-2")
    with pytest.raises(InputError, match="checkpoint-2, the best one"):
        run(tmp_path, **WORST)


def test_the_best_is_saved_whenever_it_is_measured(tmp_path):
    "More measurements than checkpoints: the best weights are taken all the same."
    often = run(tmp_path, **WORST, save_steps=6, save_total_limit=1)
    assert often.metrics["eval_loss"] == often.history().query("metric == 'eval_loss'").value.max()


def test_no_folder_of_the_user_is_removed(tmp_path):
    (tmp_path / "checkpoint-99").mkdir()
    (tmp_path / "checkpoint-99" / "notes.txt").write_text("dear diary")
    run(tmp_path, **WORST, save_total_limit=1)
    assert (tmp_path / "checkpoint-99" / "notes.txt").exists()
