"""The text stage, killed with -9, goes on from its last checkpoint to the undisturbed rows."""
from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

# argv: what to run, the folder, and perhaps a run's name and the save in which to die half-way.
# Each step of each run is announced as "<run> step <n>".
SCRIPT = """
import os, signal, sys, torch
from pathlib import Path
from pptrain.runs import fit

torch.set_num_threads(1)
what, folder, *fate = sys.argv[1:]
here, save, saves = [""], torch.save, [0]

class Tell(fit.Diary):
    def on_step_end(self, args, state, control, **more):
        super().on_step_end(args, state, control, **more)
        here[0] = "/".join(self.path.parent.parts[-2:])
        print(here[0], "step", state.global_step, flush=True)

def dying_save(value, path, **more):
    save(value, path, **more)
    saves[0] += fate[0] == here[0]
    if saves[0] == int(fate[1]):
        whole = Path(path).read_bytes()
        Path(path).write_bytes(whole[: len(whole) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

fit.Diary = Tell
if fate: torch.save = dying_save
if what == "fit":
    from pptrain.cli import main
    sys.exit(main(["fit", f"{folder}/fit.yaml", "--eval-config", f"{folder}/eval.yaml"]))
from pptrain.study import StudyConfig, run_study
config = StudyConfig(
    "demo", "procedural", "smoke", corpus="docs", corpus_bytes=150_000, vocab_size=384,
    model="gpt2-1_2_16", block_size=64, batch_size=4, synthetic_steps=6, text_steps=40,
    eval_every=10, eval_blocks=8, warmup_steps=2)
run_study(config, folder, [1], ["scratch", "shuffled"])
"""

FIT = """
task: {name: procedural, config: {preset: smoke}}
model: {model_name_or_path: gpt2-1_2_16, config_overrides: {n_positions: 64}}   # with dropout
run: {output_dir: FOLDER/run, max_steps: 6, save_steps: 3}
"""
EVAL = """
{corpus: docs, max_bytes: 150000, vocab_size: 384, max_length: 64, batch_size: 4, train_steps: 40,
 eval_every: 10, eval_blocks: 8, tasks: [{type: perplexity}, {type: perplexity, corpus: code}]}
"""
RESULTS = {"fit": ["run/eval/comparison.json", "run/eval/text/transferred/history.csv"],
           "study": ["rows/scratch-1.json", "rows/shuffled-1.json", "text/shuffled-1/history.csv"]}
SECOND = {"fit": "text/transferred", "study": "text/shuffled-1"}     # the run that is disturbed


def start(what: str, folder: Path, *fate: object) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    (folder / "fit.yaml").write_text(FIT.replace("FOLDER", str(folder)))
    (folder / "eval.yaml").write_text(EVAL)
    command = [sys.executable, "-c", SCRIPT, what, str(folder), *map(str, fate)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen) -> tuple[dict[str, list[int]], str]:
    "The steps of each run of a process that must end well, and what it said on stderr."
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    steps: dict[str, list[int]] = {}
    for name, step in re.findall(r"^(\S+) step (\d+)$", out, re.M):
        steps.setdefault(name, []).append(int(step))
    return steps, err


def stop_at(process: subprocess.Popen, line: str, number: int = signal.SIGKILL) -> int:
    "Sends a signal when `line` is announced; the exit status."
    for said in process.stdout:
        if said.strip() == line:
            break
    process.send_signal(number)
    process.communicate(timeout=300)
    return process.returncode


def checkpoints(folder: Path, name: str) -> list[int]:
    "The steps of the checkpoints of one run."
    found = [path for path in folder.rglob("checkpoint-*") if str(path.parent).endswith(name)]
    return sorted(int(path.name.split("-")[-1]) for path in found)


@pytest.fixture(scope="module", params=["fit", "study"])
def undisturbed(request, tmp_path_factory) -> tuple[str, dict[str, bytes]]:
    what, folder = request.param, tmp_path_factory.mktemp(request.param)
    steps, err = finish(start(what, folder))
    assert steps[SECOND[what]] == list(range(1, 41)) and "goes on" not in err
    return what, {name: (folder / name).read_bytes() for name in RESULTS[what]}


def same_results(folder: Path, expected: dict[str, bytes]) -> None:
    for name, content in expected.items():
        assert (folder / name).read_bytes() == content, name


@pytest.mark.slow
def test_kill_nine_in_the_text_stage(tmp_path, undisturbed):
    "In mid-step, then while a checkpoint is written, then left alone; then asked once more."
    what, expected = undisturbed
    name = SECOND[what]
    assert stop_at(start(what, tmp_path), f"{name} step 23") == -signal.SIGKILL
    assert checkpoints(tmp_path, name) == [10, 20]

    half = start(what, tmp_path, name, 2)             # dies in its next checkpoint
    half.communicate(timeout=300)
    assert half.returncode == -signal.SIGKILL

    steps, err = finish(start(what, tmp_path))
    assert steps == {name: list(range(21, 41))}       # nothing else ran, and not from its start
    assert f"{name}: goes on from step 20 of 40" in err
    same_results(tmp_path, expected)
    assert not list(tmp_path.rglob("checkpoint-*"))

    steps, err = finish(start(what, tmp_path))
    assert not steps and "goes on" not in err
    same_results(tmp_path, expected)


@pytest.mark.slow
def test_an_early_kill_and_a_signal(tmp_path, undisturbed):
    "Before the first checkpoint a run starts over; SIGINT saves the step to go on from."
    what, expected = undisturbed
    name = SECOND[what]
    assert stop_at(start(what, tmp_path), f"{name} step 4") == -signal.SIGKILL
    assert not checkpoints(tmp_path, name)
    assert stop_at(start(what, tmp_path), f"{name} step 12", signal.SIGINT) != 0
    saved = checkpoints(tmp_path, name)[-1]
    assert 12 <= saved < 40
    steps, err = finish(start(what, tmp_path))
    assert steps[name][0] == saved + 1 and f"goes on from step {saved} of 40" in err
    result = RESULTS[what][0]
    assert (tmp_path / result).read_bytes() == expected[result]


def test_measurements_of_a_comparison_survive():
    "What was measured before the kill is in the rows; `comparison.json` has its keys."
    from pptrain.runs.evaluation import variant_result
    from pptrain.runs.text import TextRun
    rows = [dict(step=step, tokens=step, metric=metric, value=value)
            for step, value in ((0, 6.0), (5, 5.0)) for metric in ("eval_loss", "perplexity/loss")]
    result = variant_result(TextRun(rows, None), ["perplexity"])
    assert result["perplexity"] == {"metrics": {"loss": 5.0}, "before": {"loss": 6.0}}
    assert [row["value"] for row in result["curve"]] == [6.0, 5.0]
    assert json.dumps(result)
