"""Processes that were started together train together; one of them writes, and one complains."""
from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import ROOT

from pptrain import TransferBundle

STILL = {"n_positions": 64, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
FIT = {
    "task": {"name": "procedural", "config": {"preset": "smoke", "sequence_count": 64}},
    "model": {"model_name_or_path": "gpt2-1_2_16", "config_overrides": STILL},
    "run": {"max_steps": 6, "per_device_train_batch_size": 2, "save_steps": 3, "eval_steps": 6,
            "logging_steps": 2}}
CLI = "import sys; from pptrain.cli import main; sys.exit(main())"


def written(folder: Path, name: str, **run: object) -> str:
    "A config whose run directory is called `name`."
    config = FIT | {"run": {**FIT["run"], "output_dir": str(folder / name), **run}}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def torchrun(*argv: str, **place: str) -> subprocess.Popen:
    "Two processes of a command line, started by torchrun."
    program = Path(argv[1]).with_suffix(".py")
    program.write_text(CLI)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
               str(program), *argv]
    known = {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=os.environ | known | place, start_new_session=True)


def weights_of(run: subprocess.Popen) -> str:
    "sha256 of the weights that a run ended with."
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    return json.loads(out[out.index("{"):])["metrics"]["weights_sha256"]


def started(count: int, *argv: str) -> list[subprocess.CompletedProcess]:
    "`count` processes of one command line, as a launcher starts them."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(s.getsockname()[1])}
    place = {**os.environ, **meeting, "WORLD_SIZE": str(count), "CUDA_VISIBLE_DEVICES": "",
             "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if count == 1:
        place = {name: value for name, value in place.items() if name not in meeting}
        del place["WORLD_SIZE"]
    command = [sys.executable, "-c", CLI, *argv]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    ranks = [{"RANK": str(i), "LOCAL_RANK": str(i)} if count > 1 else {} for i in range(count)]
    running = [subprocess.Popen(command, env=place | rank, **pipes) for rank in ranks]
    said = [process.communicate(timeout=200) for process in running]
    return [subprocess.CompletedProcess(command, process.returncode, out, err)
            for process, (out, err) in zip(running, said)]


@pytest.mark.slow
def test_two_processes_are_one_that_accumulates(tmp_path):
    alone = written(tmp_path, "alone", gradient_accumulation_steps=2)
    [one] = started(1, "fit", alone, "--json")
    two = started(2, "fit", written(tmp_path, "two"), "--json")
    assert [done.returncode for done in (one, *two)] == [0, 0, 0], two[0].stderr
    assert not two[1].stdout, "one process prints the result"
    theirs, ours = (json.loads(done.stdout)["metrics"] for done in (one, two[0]))
    assert theirs["tokens_seen"] == ours["tokens_seen"]
    assert abs(theirs["eval_loss"] - ours["eval_loss"]) < 1e-5
    weights = TransferBundle.load(tmp_path / "alone").state_dict()
    for name, tensor in TransferBundle.load(tmp_path / "two").state_dict().items():
        assert (tensor - weights[name]).abs().max() < 1e-5, name


@pytest.mark.slow
def test_bad_input_is_one_line_in_all(tmp_path):
    for run, word in (({"optim": "adamw_torch_npu_fused"}, "optim"), ({"seed": -1}, "seed")):
        done = started(2, "fit", written(tmp_path, "bad", **run))
        assert [process.returncode for process in done] == [2, 2]
        lines = [line for process in done for line in process.stderr.splitlines()]
        errors = [line for line in lines if line.startswith("error:")]
        assert len(errors) == 1 and word in errors[0], lines
        assert not (tmp_path / "bad").exists()


@pytest.mark.slow
def test_torchrun_ends_in_the_same_weights_killed_or_not(tmp_path):
    steps = {"max_steps": 40, "save_steps": 10, "eval_steps": 40, "use_cpu": True}
    first, second, third = (written(tmp_path, name, **steps) for name in ("a", "b", "c"))
    wanted = weights_of(torchrun("fit", first, "--json"))
    assert weights_of(torchrun("fit", second, "--json")) == wanted

    killed = torchrun("fit", third, "--json")
    while not (tmp_path / "c/checkpoint-10/trainer_state.json").exists():
        assert killed.poll() is None
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    for rank in psutil.process_iter(["environ"]):
        if (rank.info["environ"] or {}).get("TORCHELASTIC_RUN_ID") and third in rank.cmdline():
            rank.kill()
    killed.communicate()
    assert not (tmp_path / "c/checkpoint-40").exists(), "too late to be killed half-way"
    assert weights_of(torchrun("fit", third, "--json")) == wanted


# a family whose items begin with their number, and a trainer that notes what it trains on
NOTED = """
import os
import numpy as np, transformers
from pptrain.core import AddressedTask, FamilyConfig, TaskPreset, Vocab, register_family
from pptrain.data import Example

class Numbered(AddressedTask):
    "The number of the item, and of the epoch."
    name = "numbered"
    config_class = FamilyConfig
    vocab = Vocab([*map(str, range(60)), "<pad>"])

    def examples(self, seed, split, epoch, indices):
        rows = [np.array([i % 60, epoch, 7]) for i in indices]
        return [Example(row, np.ones(3, bool), {}, self.vocab) for row in rows]

register_family(Numbered, [TaskPreset("smoke", "Three numbers.", {"max_length": 3}, "ours")])

step = transformers.Trainer.training_step
def noted(self, model, inputs, *rest, **more):
    with open(os.environ["NOTED"] + os.environ["RANK"], "a") as file:
        for item, epoch, _ in inputs["input_ids"].tolist():
            file.write(f"{epoch} {item}\\n")
    return step(self, model, inputs, *rest, **more)
transformers.Trainer.training_step = noted
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [24, 27])
def test_each_item_is_seen_once_per_epoch(tmp_path, count):
    (tmp_path / "numbered_family.py").write_text(NOTED)
    config = written(tmp_path, "run", max_steps=-1, num_train_epochs=2, use_cpu=True)
    known = {"PPTRAIN_PLUGINS": str(tmp_path / "numbered_family.py"), "NOTED": f"{tmp_path}/noted-"}
    task = ["name=numbered", "config.preset=smoke", f"config.sequence_count={count}"]
    settings = [word for setting in task for word in ("--set", f"task.{setting}")]
    run = torchrun("fit", config, *settings, **known)
    _, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    seen = [(tmp_path / f"noted-{rank}").read_text().splitlines() for rank in (0, 1)]
    once = sorted(f"{epoch} {item}" for epoch in (0, 1) for item in range(count))
    assert sorted(set(seen[0] + seen[1])) == once
    # an epoch is filled up to whole steps, two rows in each of two processes, with its first rows
    assert len(seen[0]) == len(seen[1]) == -(-count // 4) * 4
