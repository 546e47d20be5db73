"""A monitor beside real runs: what it sees, leaves alone, and shows where nobody can touch."""
from __future__ import annotations

import signal
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from transformers import TrainerCallback

from pptrain.core import create_task
from pptrain.errors import InputError
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.runs import PrePreTrainer, RunConfig
from pptrain.views.monitor import Watcher, monitor

torch.set_num_threads(1)


class Boom(TrainerCallback):
    "Fails at step 7."
    def on_step_end(self, args, state, control, **more):
        if state.global_step == 7:
            raise RuntimeError("power cut")


def trainer(folder, callbacks=(), **more):
    settings = dict(max_steps=10, logging_steps=1, eval_steps=5, save_steps=4) | more
    adapter = HFCausalLMAdapter(HFModelConfig("gpt2-2_2_16", config_overrides={"n_positions": 64}))
    task = create_task("procedural", {"preset": "smoke"})
    return PrePreTrainer(task, adapter, RunConfig(folder, **settings), callbacks)


def test_monitor_receives_every_row_and_speaks_sparsely(tmp_path, capsys):
    watched = trainer(tmp_path / "run")
    m = monitor(watched)
    run = watched.fit()
    rows = m.rows()
    assert rows[rows.metric == "train_loss"].step.tolist() == list(range(1, 11))
    assert rows[rows.metric == "eval_loss"].step.tolist() == [5, 10]
    assert (rows[rows.metric == "speed"].value > 0).all()
    assert "of 25 target tokens right" in m.answers and "step 10" in m.answers
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert 2 <= len(lines) <= 11 and lines[-1].startswith("step 10 of 10")
    for finished in (run, str(run.run_dir)):
        assert "finished. step 10 of 10" in monitor(finished).static().markup.replace("</b>", "")


def test_monitor_says_nothing_beside_a_progress_bar(tmp_path, capsys):
    watched = trainer(tmp_path / "run", disable_tqdm=False)
    monitor(watched)
    watched.fit()
    assert "tokens per second" not in capsys.readouterr().out


def test_second_monitor_replaces_the_first(tmp_path):
    watched = trainer(tmp_path / "run", [Boom()])
    monitor(watched)
    m = monitor(watched)
    assert [type(c) for c in watched.callbacks] == [Boom, Watcher]
    assert watched.callbacks[1].monitor is m


def test_monitor_moves_its_widget_and_survives_an_interruption(tmp_path):
    broken = trainer(tmp_path / "run", [Boom()])
    m = monitor(broken)
    m.widget()
    with pytest.raises(RuntimeError):
        broken.fit()
    assert "step 5 of 10" in m.panes[0].value       # the last evaluation was drawn at once
    seen = monitor(tmp_path / "run")
    assert "not finished" in seen.static().markup and "step 4 of 10" in seen.static().markup
    again = trainer(tmp_path / "run")
    m = monitor(again)
    m.widget()
    again.fit()
    steps = m.rows().query("metric == 'train_loss'").step.tolist()
    assert steps == list(range(1, 11)) and "step 10 of 10" in m.panes[0].value


def test_monitor_says_how_a_stopped_run_goes_on(tmp_path):
    class CtrlC(TrainerCallback):
        def on_step_begin(self, args, state, control, **more):
            if state.global_step == 3:
                signal.raise_signal(signal.SIGINT)

    stopped = trainer(tmp_path / "run", [CtrlC()])
    m = monitor(stopped)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit()
    markup = m.static().markup
    assert "stopped; fit() with the same settings goes on" in markup and "step 4 of 10" in markup


def test_run_without_history_opens(tmp_path):
    (tmp_path / "run.json").write_text('{"settings": {}}')
    assert "no step yet" in monitor(tmp_path).static().markup
    (tmp_path / "history.csv").write_text("step,tokens\n1,x")
    with pytest.raises(InputError, match=r"history.csv is damaged"):
        monitor(tmp_path).static()


def test_executed_notebook_shows_the_end_of_the_run(tmp_path, monkeypatch):
    "The cell above fit() ends with the last picture, without a widget that no kernel answers."
    monkeypatch.setenv("PPTRAIN_VIEWS", "still")  # nbclient names the account only with $USER set
    path = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})"
    watch = "from test_monitor import trainer, monitor\nt = trainer('run')\nm = monitor(t)\nm"
    cells = [path, watch, "t.fit();"]
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(nb, kernel_name="python3", resources=place).execute()
    shown, = nb.cells[1].outputs
    assert "trained" in shown.data["text/html"] and "step 10 of 10" in shown.data["text/html"]
    assert not any("widget" in kind for kind in shown.data)
    assert nb.cells[2].outputs[0].text.count("\n") <= 11
