"""A killed run starts again and ends with the same weights; interrupted, it says where it is."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

# argv: output directory, and what to do to oneself: nothing, or half-save N:
# die inside the N-th torch.save
SCRIPT = """
import os, signal, sys, torch
from pathlib import Path
from transformers import TrainerCallback
from pptrain.core import create_task
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.runs import PrePreTrainer, RunConfig

torch.set_num_threads(1)
out, fate, *when = sys.argv[1:]
save, saves = torch.save, [0]

def dying_save(value, path, **more):
    saves[0] += 1
    save(value, path, **more)
    if saves[0] == int(when[0]):
        whole = Path(path).read_bytes()
        Path(path).write_bytes(whole[: len(whole) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

class Tell(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        print("step", state.global_step, flush=True)

if fate == "half-save": torch.save = dying_save
task = create_task("procedural", {"preset": "smoke"})
context = {"n_positions": 64}                                   # and a dropout of 0.1
model = HFCausalLMAdapter(HFModelConfig("gpt2-2_2_16", config_overrides=context))
settings = RunConfig(out, max_steps=60, save_steps=5, logging_steps=5, lr_scheduler_type="constant")
try: PrePreTrainer(task, model, settings, callbacks=[Tell()]).fit()
except KeyboardInterrupt as e: print("interrupted:", e); sys.exit(130)
"""


def start(out: Path, *fate: object) -> subprocess.Popen:
    "A training process; its steps can be read from stdout."
    command = [sys.executable, "-c", SCRIPT, str(out), *map(str, fate or ("nothing",))]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen) -> list[int]:
    "The steps of a process that must end well."
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return [int(line.split()[1]) for line in out.splitlines() if line.startswith("step")]


def signal_at(process: subprocess.Popen, step: int, number: int) -> tuple[int, str]:
    "Sends a signal when `step` is announced; exit code and what was said afterwards."
    for line in process.stdout:
        if line.strip() == f"step {step}": break
    process.send_signal(number)
    out, _ = process.communicate(timeout=300)
    return process.returncode, out


def summary(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())["metrics"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    assert finish(start(out)) == list(range(1, 61))
    return out


@pytest.mark.slow
def test_kill_nine(tmp_path, undisturbed):
    "Killed in mid-step, then while writing a checkpoint, then left alone: same weights and diary."
    assert signal_at(start(tmp_path), 23, signal.SIGKILL)[0] == -signal.SIGKILL
    assert not (tmp_path / "summary.json").exists()

    half = start(tmp_path, "half-save", 6)          # dies in its second checkpoint
    half.communicate(timeout=300)
    assert half.returncode == -signal.SIGKILL

    steps = finish(start(tmp_path))
    # neither from scratch nor from the broken checkpoint
    assert 20 < steps[0] <= 31 and steps[-1] == 60
    ours, theirs = summary(tmp_path), summary(undisturbed)
    assert ours["weights_sha256"] == theirs["weights_sha256"]
    for name in ("train_loss", "tokens_seen", "eval_loss"):
        assert ours[name] == theirs[name]
    assert (tmp_path / "history.csv").read_bytes() == (undisturbed / "history.csv").read_bytes()


@pytest.mark.slow
def test_interruption_saves_the_state(tmp_path, undisturbed):
    "Ctrl-C ends the step, saves it, and says where; the next start goes on with the next step."
    code, said = signal_at(start(tmp_path), 12, signal.SIGINT)
    assert code == 130 and str(tmp_path) in said
    saved = max(int(p.name.rpartition("-")[2]) for p in tmp_path.glob("checkpoint-*"))
    assert 12 <= saved < 60

    assert finish(start(tmp_path))[0] == saved + 1
    assert summary(tmp_path)["weights_sha256"] == summary(undisturbed)["weights_sha256"]
