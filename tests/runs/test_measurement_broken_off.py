"""Ctrl-C does not wait for a measurement; whoever goes on makes up for it, to the same rows."""
from __future__ import annotations

import signal
from pathlib import Path
from unittest.mock import patch

import pytest
from pptrain.core import create_task
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.runs import PrePreTrainer, RunConfig
from pptrain.runs.fit import held_out_metrics


def trained(out: Path, stop_at: int | None = None, **settings):
    "A run of 8 steps, measured every 2; `stop_at`: Ctrl-C while that step is measured."
    def measured(trainer, rows):
        if trainer.state.global_step == stop_at:
            signal.raise_signal(signal.SIGINT)
        return held_out_metrics(trainer, rows)

    task = create_task("procedural", {"preset": "smoke", "eval_sequence_count": 8})
    small = HFModelConfig("gpt2-1_2_16", config_overrides={"n_positions": 64})   # with dropout
    sizes = dict(max_steps=8, eval_steps=2, save_steps=4, logging_steps=2,
                 per_device_train_batch_size=4, **settings)
    with patch("pptrain.runs.fit.held_out_metrics", measured):
        return PrePreTrainer(task, HFCausalLMAdapter(small), RunConfig(out, **sizes)).fit()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("undisturbed") / "run")


@pytest.mark.parametrize("step", [2, 4, 8])
def test_the_same_rows_after_ctrl_c_in_a_measurement(tmp_path, undisturbed, step):
    "Twice at the same place, the second time while it makes up for the first."
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt, match="the state is saved in"):
            trained(tmp_path / "run", stop_at=step)
        assert (tmp_path / "run" / f"checkpoint-{step}").is_dir()
    run = trained(tmp_path / "run")
    assert run.metrics == undisturbed.metrics
    assert run.history_path.read_bytes() == undisturbed.history_path.read_bytes()


def test_before_the_first_step_nothing_is_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt, match="before anything was saved"):
        trained(tmp_path / "run", stop_at=0, eval_on_start=True)
    assert not list((tmp_path / "run").glob("checkpoint-*"))
