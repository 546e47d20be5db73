"""Processes that were started together train together; one of them writes, and one complains."""
from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

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
