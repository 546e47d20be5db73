"""Ray and submitit, on this machine: the same bytes as without them; nobody works on for nobody."""
from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT
from test_drivers import at_work, driver, ended, notebook, the_run, until

pytestmark = pytest.mark.slow

PPTRAIN = [sys.executable, "-c", "import sys; from pptrain.cli import main; sys.exit(main())"]
LIME = ["generate", "lime", "--preset", "smoke", "-n", "12000", "--shards", "6", "--workers", "2"]

# two runs of a notebook, of which one fails
GRID = """
import json, sys
from pptrain.grid import RunSpec, run_grid
source, folder, executor = sys.argv[1:]
specs = [RunSpec("own", source, {"seconds": seconds}) for seconds in (0, -1)]
run_grid(specs, folder, workers=2, executor=json.loads(executor))
"""

# a cluster of two processors, as long as its standard input is open
CLUSTER = """
import sys
import ray
ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[dict[str, str]]:
    "What the environment says of a Ray cluster with two processors."
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install ray")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    own = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token",
           "RAY_AUTH_TOKEN": secrets.token_hex(32)}     # this cluster's, for these tests
    head = subprocess.Popen([sys.executable, "-c", CLUSTER], env=os.environ | own, text=True,
                            **pipes)
    address = head.stdout.readline().strip()
    if not address:      # Ray gives its agents 15 seconds to start, on a busy machine too
        pytest.skip(f"Ray did not start here: {head.communicate()[1].splitlines()[-1]}")
    yield own | {"RAY_ADDRESS": address}
    head.communicate(timeout=60)


@pytest.fixture(params=["ray", "submitit"])
def cluster(request, monkeypatch) -> list[str]:
    "Options of a command line that has its work done elsewhere."
    if request.param == "ray":
        for name, value in request.getfixturevalue("ray_cluster").items():
            monkeypatch.setenv(name, value)
        return ["--executor", "ray"]
    if find_spec("submitit") is None:
        pytest.skip("submitit is not installed: pip install submitit")
    return ["--executor", "submitit", "--executor-option", "cluster=local"]


def as_mapping(cluster: list[str]) -> str:
    "The same as JSON, for `run_grid`."
    options = dict(pair.split("=") for pair in cluster[3::2])
    return json.dumps({"name": cluster[1]} | options)


def contents(folder: Path) -> dict[str, bytes]:
    "File name -> bytes of all that is not hidden."
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


def hidden(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name[0] == "."}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    "What this machine writes on its own."
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run([*PPTRAIN, *LIME, "--out", folder], check=True, env=place())
    return contents(folder)


def place() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def begun(command: list[str], folder: Path) -> subprocess.Popen:
    "A command of which a shard is written."
    run = subprocess.Popen([*PPTRAIN, *command, "--out", folder], stderr=subprocess.PIPE, text=True,
                           env=place(), start_new_session=True)
    assert until(lambda: bool(list(folder.glob("*.parquet"))) or run.poll() is not None)
    assert run.poll() is None, run.stderr.read()
    return run


def test_a_stream_has_the_same_bytes_and_goes_on_after_a_kill(cluster, whole, tmp_path):
    run = begun([*LIME, *cluster], tmp_path)
    run.kill()
    run.wait()
    assert len(list(tmp_path.glob("*.parquet"))) < 6, "too late to be killed half-way"

    # nobody writes any more
    time.sleep(4)
    left = contents(tmp_path)
    time.sleep(4)
    assert contents(tmp_path) == left

    done = subprocess.run([*PPTRAIN, *LIME, *cluster, "--out", tmp_path], env=place(),
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == whole and not hidden(tmp_path)


def test_ctrl_c_stops_the_cluster(cluster, tmp_path):
    asked = [*LIME, "-n", "200000", "--shards", "100", *cluster]
    run = begun(asked, tmp_path)
    os.killpg(run.pid, signal.SIGINT)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 130 and "of 100 shards are finished" in said.splitlines()[-1], said
    assert not hidden(tmp_path)
    # submitit's processes on this machine hear Ctrl-C themselves, and say so
    assert "Traceback" not in said or "submitit" in cluster
    left = contents(tmp_path)
    time.sleep(3)
    assert contents(tmp_path) == left


OWN = """
from dataclasses import dataclass
import numpy as np
from pptrain.core import AddressedTask, FamilyConfig, TaskPreset, Vocab, register_family
from pptrain.data import Example

class Full(AddressedTask):
    "From item 40 on the disk is full."
    name = "full"
    config_class = FamilyConfig
    vocab = Vocab([*map(str, range(9)), "<pad>"])

    def examples(self, seed, split, epoch, indices):
        if max(indices) >= 40:
            raise OSError(28, "No space left on device")
        return [Example(np.arange(3), np.ones(3, bool), {}, self.vocab) for _ in indices]

register_family(Full, [TaskPreset("smoke", "Three numbers.", {}, "ours")])
"""


def test_a_family_of_ones_own_and_its_errors_travel(cluster, tmp_path):
    (tmp_path / "own_family.py").write_text(OWN)
    known = place() | {"PPTRAIN_PLUGINS": str(tmp_path / "own_family.py")}
    asked = ["generate", "full", "-n", "100", "--shards", "4", "--workers", "2", *cluster]
    done = subprocess.run([*PPTRAIN, *asked, "--out", tmp_path / "out"], env=known,
                          capture_output=True, text=True)
    said = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and "(the disk is full); " in said, done.stderr
    assert not hidden(tmp_path / "out")


def grid_of(source: Path, folder: Path, executor: str) -> list[dict]:
    "The runs of a grid, without how long they took."
    done = subprocess.run([sys.executable, "-c", GRID, str(source), str(folder), executor],
                          env=place(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = json.loads((folder / "manifest.json").read_text())["runs"]
    assert all(run.pop("seconds") > 0 for run in runs)
    for run in runs:
        assert f"{run['status']} {run['id']} after" in done.stdout
    assert "own: at work" in done.stdout, "a notebook's lines arrive"
    return runs


def test_a_grid_is_the_same(cluster, tmp_path):
    source = notebook(tmp_path / "work.ipynb")
    here = grid_of(source, tmp_path / "here", '"local"')
    assert sorted(run["status"] for run in here) == ["done", "failed"]
    there = grid_of(source, tmp_path / "there", as_mapping(cluster))
    assert there == here and not hidden(tmp_path / "there")


def test_stopping_a_grid_stops_its_notebooks(cluster, tmp_path):
    source, folder = notebook(tmp_path / "work.ipynb"), tmp_path / "grid"
    stopped = driver(source, folder, 90, *cluster)
    processes = at_work(folder)
    assert the_run(folder)["status"] == "running"
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 130 and until(lambda: all(map(ended, processes)), 10), out + err
    assert the_run(folder)["status"] == "interrupted" and not hidden(folder)


def test_a_killed_drivers_notebook_ends(cluster, tmp_path):
    source, folder = notebook(tmp_path / "work.ipynb"), tmp_path / "grid"
    first = driver(source, folder, 90, *cluster)
    processes = at_work(folder)
    first.kill()
    first.wait()
    assert until(lambda: all(map(ended, processes)), 20), [
        process.cmdline() for process in processes if not ended(process)]
