"""Two processes and one run directory: the second is told who the first is."""
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

FIT = """
task: {name: procedural, config: {preset: smoke}}
model: {model_name_or_path: gpt2-1_2_16, config_overrides: {n_positions: 64}}
run: {output_dir: run, max_steps: 4000, save_steps: 5, dataloader_num_workers: 1, use_cpu: true}
"""
MAIN = "import sys; from pptrain.cli import main; sys.exit(main())"


def start(folder: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-c", MAIN, "fit", "fit.yaml", *more]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(pattern: str, folder: Path) -> None:
    end = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_a_run_directory_has_one_process(tmp_path):
    (tmp_path / "fit.yaml").write_text(FIT)
    (tmp_path / "same").symlink_to("run")
    first = start(tmp_path)
    wait_for("run/checkpoint-*/pptrain.json", tmp_path)
    for name in ("run", "same"):
        second = start(tmp_path, "--set", f"run.output_dir={name}", "--set", "run.overwrite=true")
        _, err = second.communicate(timeout=120)
        errors = [line for line in err.splitlines() if line.startswith("error:")]
        assert second.returncode == 2 and len(errors) == 1, err
        assert f"process {first.pid} on {socket.gethostname()}" in errors[0]
        assert f"output_dir='{name}' is in use" in errors[0]
    assert first.poll() is None

    first.send_signal(signal.SIGKILL)       # the driver alone: its loader still lives for a moment
    first.wait()
    assert (tmp_path / "run" / ".pptrain-locked-by").exists()
    third = start(tmp_path)                  # a dead holder holds nothing
    for line in third.stderr:
        if "goes on from step" in line: break
    else: pytest.fail("did not go on")
    third.send_signal(signal.SIGINT)
    third.communicate(timeout=120)
    assert third.returncode == 130
    hidden = [path.name for path in (tmp_path / "run").glob(".*")]
    assert not hidden
