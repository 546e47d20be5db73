"""Views beside real runs: what they see, what they leave alone, what they show where nobody can touch."""
from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient
from transformers import TrainerCallback

from pptrain.comparison import OWN, Board, compare
from pptrain.core import create_task
from pptrain.grid import Manifest, RunSpec, run_folder
from pptrain.inspector import CHOICES, inspect, layer_prefixes, pieces, skip_from, totals
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.monitoring import Watcher, monitor
from pptrain.report import write_report
from pptrain.study import COLUMNS, Claim, save_results
from pptrain.runs import PrePreTrainer, RunConfig
from pptrain.transfer import TransferBundle, TransferPolicy
from pptrain.vocab import InputError, TokenizerSpec

torch.set_num_threads(1)


# a monitor beside a run

class Boom(TrainerCallback):
    "Fails at step 7."
    def on_step_end(self, args, state, control, **more):
        if state.global_step == 7: raise RuntimeError("power cut")


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
    assert "of 25 target tokens right" in m.card and "step 10" in m.card
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
    assert [type(c) for c in watched.callbacks] == [Boom, Watcher] and watched.callbacks[1].monitor is m


def test_monitor_moves_its_widget_and_survives_an_interruption(tmp_path):
    broken = trainer(tmp_path / "run", [Boom()])
    m = monitor(broken)
    m.widget()
    with pytest.raises(RuntimeError): broken.fit()
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
            if state.global_step == 3: signal.raise_signal(signal.SIGINT)
    m = monitor(stopped := trainer(tmp_path / "run", [CtrlC()]))
    with pytest.raises(KeyboardInterrupt): stopped.fit()
    said = m.static().markup
    assert "stopped; fit() with the same settings goes on" in said and "step 4 of 10" in said


def test_run_without_history_opens(tmp_path):
    (tmp_path / "run.json").write_text('{"settings": {}}')
    assert "no step yet" in monitor(tmp_path).static().markup
    (tmp_path / "history.csv").write_text("step,tokens\n1,x")
    with pytest.raises(InputError, match=r"history.csv' is damaged"): monitor(tmp_path).static()


def test_executed_notebook_shows_the_end_of_the_run(tmp_path, monkeypatch):
    "The cell above fit() ends with the last picture, without a widget that no kernel answers."
    monkeypatch.setenv("PPTRAIN_VIEWS", "still")        # nbclient names the account only where $USER is set
    cells = ["from test_views import trainer, monitor\nt = trainer('run')\nm = monitor(t)\nm", "t.fit();"]
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    path = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})"
    nb.cells.insert(0, nbformat.v4.new_code_cell(path))
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(nb, kernel_name="python3", resources=place).execute()
    shown, = nb.cells[1].outputs
    assert "trained" in shown.data["text/html"] and "step 10 of 10" in shown.data["text/html"]
    assert not any("widget" in kind for kind in shown.data)
    assert nb.cells[2].outputs[0].text.count("\n") <= 11


# an inspector beside a model

def text_model(name):
    "A text model of this size with 300 ids."
    return HFCausalLMAdapter(HFModelConfig(name)).load_downstream_model(vocab_size=300)


@pytest.mark.parametrize("small, large", [("gpt2-2_2_16", "gpt2-3_2_16"), ("llama-tiny", "llama-tiny"),
                                          ("pythia-tiny", "pythia-tiny")])
def test_inspector_changes_no_bit(tmp_path, small, large):
    torch.manual_seed(0)
    synthetic = TokenizerSpec(300, pad_token_id=0)
    trained = HFCausalLMAdapter(HFModelConfig(small)).create_prepretrain_model(synthetic)
    model = text_model(large)
    bundle = TransferBundle.save(trained, tmp_path, task_name="t", task_config={}, tokenizer_spec={})
    before = {n: t.clone() for n, t in model.state_dict(keep_vars=False).items()}
    places = [p.data_ptr() for p in model.parameters()]
    view = inspect(tmp_path, model)
    view.static(), view.to_html()
    choice, start = view.widget().children[0].children
    for name in choice.options: choice.value = name
    start.value = 1
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert places == [p.data_ptr() for p in model.parameters()]

    whole = sum(p.numel() for p in model.parameters())
    state = bundle.state_dict()
    for policy in [make() for make in CHOICES.values()] + [skip_from(model, 1)]:
        found = totals(pieces(policy, state, model))
        assert sum(n for kind, n in found.items() if kind != "absent") == whole   # each number has one fate,
        report = policy.apply_bundle(bundle, text_model(large))
        assert report.loaded_element_count == found.get("crosses", 0)               # and it is the real one


def test_layer_prefixes_do_not_swallow_their_neighbours():
    model = HFCausalLMAdapter(HFModelConfig("gpt2-12_2_4")).load_downstream_model(vocab_size=10)
    assert len(layer_prefixes(model, 10)) == 2 and len(layer_prefixes(model, 1)) == 11
    assert skip_from(model, 1).leave("transformer.h.0.ln_1.weight", "ln") is None


def test_inspector_of_a_model_without_layers(tmp_path):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.head = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 9)
    TransferBundle.save(Plain(), tmp_path, task_name="t", task_config={}, tokenizer_spec={})
    markup = inspect(tmp_path, Plain(), TransferPolicy()).static().markup
    assert "outside the layers" in markup and "head" in markup and inspect(tmp_path, Plain()).widget()


# a comparison of half a grid

@pytest.fixture
def grid(tmp_path):
    "Two studies; the first has two runs done and one waiting, the second has failed."
    (tmp_path / "nb.ipynb").write_text("{}")
    manifest = Manifest(tmp_path, profile="demo")
    for seed in (1, 2):
        spec = RunSpec("first", str(tmp_path / "nb.ipynb"), {"seeds": str(seed)})
        rows = [("first", v, seed, t, t, m, unit * (4 - speed * t / 1000 - .1 * seed))
                for v, speed in [("scratch", 1), ("odd", 2)]
                for m, unit in [("eval_loss", 1), ("bits_per_byte", .5)] for t in (0, 500, 1000)]
        claims = [Claim("c", "p", "loss_gain", "odd")]
        save_results(run_folder(spec, tmp_path), pd.DataFrame(rows, columns=COLUMNS), claims)
        manifest.set(spec, status="done", seconds=1.0)
    manifest.set(RunSpec("first", str(tmp_path / "nb.ipynb"), {"seeds": "3"}), status="waiting")
    manifest.set(RunSpec("second", str(tmp_path / "nb.ipynb")), status="failed", error="boom")
    return tmp_path


def test_partial_grid(grid):
    view = compare(grid)
    table = view.tokens_to_equal_loss()
    assert table.loc["odd", "mean"] == pytest.approx(500) and table.loc["odd", "saved"] == pytest.approx(.5)
    assert view.tokens_to_equal_loss(3.4).loc["odd", "seed 1"] == pytest.approx(250)
    markup = view.static().markup
    assert "2 of 4 runs done" in markup and "first: waiting" in markup and "second: failed (boom)" in markup


def test_board_changes_metric_and_target(grid):
    board = Board(compare(grid))
    board.menus["metric"].value = "bits_per_byte"
    assert "bits per byte" in board.figure.layout.yaxis.title.text and "500" in board.table.value
    board.menus["aim"].value, board.menus["loss"].value = OWN, 1.7
    assert "bits per byte" in board.menus["loss"].description and "250" in board.table.value
    for row in board.variants.children: row.children[1].value = False
    assert not any(t.visible for t in board.figure.data if t.name)


def test_copy_without_the_run_folders(grid, tmp_path_factory):
    write_report(grid)
    bare = tmp_path_factory.mktemp("bare")
    for name in ("manifest.json", "results.csv", "claims.csv"): shutil.copy(grid / name, bare)
    assert compare(bare).tokens_to_equal_loss().equals(compare(grid).tokens_to_equal_loss())
    for folder in (bare, grid): assert compare(folder).grid.verdicts.verdict.tolist() == ["replicated"]


def test_a_grid_with_nothing_in_it(tmp_path):
    with pytest.raises(InputError, match="holds no manifest"): compare(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"runs": []}))
    with pytest.raises(InputError, match="no finished run yet .no runs."): compare(tmp_path)
