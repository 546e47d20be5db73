"""The driver of a grid as a process: two of them, one that is killed, one that is stopped."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_notebook

from pptrain.errors import InputError
from pptrain.grid import RunSpec, run_grid

# `pptrain replicate`, with another notebook for a plan
DRIVER = """
import sys
import pptrain.grid
from pptrain.cli import main
notebook, folder, seconds, *more = sys.argv[1:]
spec = pptrain.grid.RunSpec("own", notebook, {"seconds": float(seconds)})
pptrain.grid.plan = lambda *any: [spec]
sys.argv = ["pptrain", "replicate", "--test", "--output-dir", folder, *more]
sys.exit(main())
"""

# it writes its process ids, then works in the kernel and in a process that the kernel started
WORK = """import os, subprocess, sys, time
helper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)'])
open('pids', 'w').write(f'{os.getpid()} {helper.pid}')
print('at work', flush=True)
time.sleep(seconds)
helper.kill()"""


def notebook(path: Path) -> Path:
    "It works for some seconds, then has a row."
    cells = [new_code_cell("seconds = 0\nout_dir = '.'", metadata={"tags": ["parameters"]}),
             new_code_cell(WORK),
             new_code_cell("open(out_dir + '/rows.csv', 'w').write('value\\n1\\n')")]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def driver(source: Path, folder: Path, seconds: float, *more: str) -> subprocess.Popen:
    "A process that runs the notebook as a grid of one; `more` are options of `replicate`."
    command = [sys.executable, "-c", DRIVER, str(source), str(folder), str(seconds), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True)


def until(holds: Callable[[], bool], seconds: float = 200) -> bool:
    "Waits until something holds; whether it came to that."
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


def at_work(folder: Path) -> list[psutil.Process]:
    "The processes of the notebook that works in a grid, once it does."
    assert until(lambda: any(p.read_text() for p in folder.glob("runs/*/pids")))
    [pids] = folder.glob("runs/*/pids")
    kernel, helper = map(psutil.Process, map(int, pids.read_text().split()))
    return [kernel.parent(), kernel, helper]


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def the_run(folder: Path) -> dict:
    [run] = json.loads((folder / "manifest.json").read_text())["runs"]
    return run


@pytest.mark.slow
def test_a_folder_has_one_driver(tmp_path):
    source, folder = notebook(tmp_path / "work.ipynb"), tmp_path / "grid"
    first = driver(source, folder, 60)
    at_work(folder)
    before = (folder / "manifest.json").read_bytes()
    second = driver(source, folder, 60)
    _, refusal = second.communicate(timeout=200)
    assert second.returncode == 2 and f"process {first.pid} on " in refusal
    assert len(refusal.splitlines()) == 1 and (folder / "manifest.json").read_bytes() == before
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)


@pytest.mark.slow
def test_a_killed_driver_leaves_nothing_beside_its_successor(tmp_path):
    source, folder = notebook(tmp_path / "work.ipynb"), tmp_path / "grid"
    first = driver(source, folder, 90)
    processes = at_work(folder)
    first.kill()
    first.wait()
    [pids] = folder.glob("runs/*/pids")
    pids.unlink()

    # by the time the next one works, nobody of the first is left
    second = driver(source, folder, 90)
    others = at_work(folder)
    assert all(map(ended, processes)) and not any(map(ended, others))
    second.send_signal(signal.SIGTERM)
    out, err = second.communicate(timeout=30)
    assert second.returncode == 130 and until(lambda: all(map(ended, others)), 10), out + err


@pytest.mark.slow
def test_a_killed_drivers_notebook_ends_without_a_successor(tmp_path):
    source, folder = notebook(tmp_path / "work.ipynb"), tmp_path / "grid"
    first = driver(source, folder, 90)
    processes = at_work(folder)
    first.kill()
    first.wait()
    assert until(lambda: all(map(ended, processes)), 10)


@pytest.mark.slow
def test_a_child_that_is_killed_alone_takes_its_notebook_along(tmp_path):
    first = driver(notebook(tmp_path / "work.ipynb"), tmp_path / "grid", 90)
    processes = at_work(tmp_path / "grid")
    processes[0].kill()
    assert until(lambda: all(map(ended, processes)), 20)
    assert first.wait(timeout=60) == 1 and the_run(tmp_path / "grid")["status"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_stopping_takes_seconds_and_loses_nothing(tmp_path, number):
    source, folder = notebook(tmp_path / "work.ipynb"), tmp_path / "grid"
    done = RunSpec("before", source, {"seconds": 0})
    run_grid([done], folder, say=[].append, profile="test")
    [before] = folder.glob("runs/*/pids")
    before.unlink()
    stopped = driver(source, folder, 90)
    processes = at_work(folder)
    start = time.monotonic()
    stopped.send_signal(number)
    out, err = stopped.communicate(timeout=30)
    assert time.monotonic() - start < 5
    assert stopped.returncode == 130 and err.count("\n") == 1 and "start the same command" in err
    last = out.splitlines()[-1]
    assert last.startswith("interrupted own-") and "Error" not in last and "kept" in last
    assert until(lambda: all(map(ended, processes)), 5)
    runs = json.loads((folder / "manifest.json").read_text())["runs"]
    assert [run["status"] for run in runs] == ["done", "interrupted"]

    # the same call goes on with what was not finished
    lines: list[str] = []
    again = run_grid([done, RunSpec("own", source, {"seconds": 0})], folder, say=lines.append)
    assert again.status(done) == "done" and "1 of 2 runs were done before and are kept" in lines


def test_a_notebook_needs_no_home(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")    # no folder can be made in it, by root neither
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "file"))
    source = notebook(tmp_path / "work.ipynb")
    run_grid([RunSpec("own", source)], tmp_path / "grid", say=[].append)
    assert the_run(tmp_path / "grid")["status"] == "done", the_run(tmp_path / "grid")


def test_a_dead_kernel_has_a_sentence(tmp_path):
    cells = [new_code_cell("out_dir = '.'", metadata={"tags": ["parameters"]}),
             new_code_cell("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "dies.ipynb")
    run_grid([RunSpec("dies", tmp_path / "dies.ipynb")], tmp_path / "grid", say=[].append)
    run = the_run(tmp_path / "grid")
    assert run["status"] == "failed" and "kernel died" in run["error"]


@pytest.mark.slow
def test_a_notebook_that_spoils_files_fails_alone(tmp_path):
    "It edits another one's notebook, removes its own folder, then fails."
    sources = {name: notebook(tmp_path / f"{name}.ipynb") for name in ("spoils", "edited", "fine")}
    cells = [new_code_cell("out_dir = '.'", metadata={"tags": ["parameters"]}),
             new_code_cell(f"open({str(sources['edited'])!r}, 'a').write(' ')\n"
                           "import shutil; shutil.rmtree(out_dir); assert 0, 'spoilt'")]
    nbformat.write(new_notebook(cells=cells), sources["spoils"])
    specs = [RunSpec(name, source) for name, source in sources.items()]
    run_grid(specs, tmp_path / "grid", say=[].append)
    manifest = json.loads((tmp_path / "grid/manifest.json").read_text())
    runs = {run["study"]: run for run in manifest["runs"]}
    assert [run["status"] for run in runs.values()] == ["failed", "failed", "done"], runs
    assert "changed after its run was planned" in runs["edited"]["error"]
    assert [runs[spec.study]["id"] for spec in specs] == [spec.id for spec in specs]

    # planned again, the edited one is a run like any other
    with pytest.raises(InputError, match="edited.ipynb' was changed"):
        run_grid(specs[1:], tmp_path / "grid", say=[].append)


@pytest.mark.parametrize("make", ["file", "dangling", "file/below"])
def test_a_folder_that_cannot_be_one_is_refused(tmp_path, make):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "file" / "nowhere")
    spec = RunSpec("own", notebook(tmp_path / "work.ipynb"))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="folder=.*cannot be written"):
        run_grid([spec], tmp_path / make)
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_is_a_link_is_used(tmp_path):
    source = notebook(tmp_path / "work.ipynb")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    run_grid([RunSpec("own", source)], tmp_path / "link", say=[].append)
    assert the_run(tmp_path / "elsewhere")["status"] == "done" and (tmp_path / "link").is_symlink()
