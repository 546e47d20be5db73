"""Families, measures, policies, controls, executors: one new file each, as in CONTRIBUTING."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, tool

WANTED = {
    "family": "counting",
    "measure": "surprise",
    "policy": "without_part",
    "control": "backward",
    "executor": "threads",
}
STUDY = """
import json, sys
from pathlib import Path
from pptrain import load_recipe
from pptrain.study import StudyConfig, run_study
from pptrain.study.report import write_report

measures = ["perplexity", "surprise"]
recipe = load_recipe({
    "task": {"name": "counting", "config": {"preset": "smoke"}},
    "model": {"model_name_or_path": "gpt2-1_2_16"},
    "run": {"output_dir": "recipe", "max_steps": 2},
    "policy": "without_part",
    "measures": measures,
})
config = StudyConfig(
    "counting", "counting", "smoke", model="gpt2-1_2_16", corpus="code", corpus_bytes=60_000,
    vocab_size=300, block_size=32, batch_size=4, synthetic_steps=2, text_steps=4, warmup_steps=0,
    eval_every=2, eval_blocks=2, policy="without_part", measures=measures)
table = run_study(config, "grid/counting", [1], ["scratch", "transferred", "backward"], say=str)
print(json.dumps({
    "yaml": recipe.to_yaml(),
    "policy": str(recipe.policy),
    "variants": sorted(set(table.variant)),
    "metrics": sorted(set(table.metric)),
}))
"""

JOBS = """
import json, threading, time
from pathlib import Path
from pptrain import create_task
from pptrain.executors import create_executor
from pptrain.generate import generate

task, heard, begun = create_task("counting", preset="smoke"), [], []
for name in ("local", "threads"):
    generate(task, name, 40, shards=4, workers=2, executor=name, quiet=True)
here, there = (Path(name, "manifest.json").read_bytes() for name in ("local", "threads"))

def work(job, tell):
    tell(job)
    return job

def slow(job, tell):
    begun.append(job)
    for _ in range(100):
        tell()
        time.sleep(.01)

run = create_executor("threads").run
ended = run(work, range(4), 2, Path("w"), heard.append)
assert sorted(done.result() for done in ended) == [0, 1, 2, 3]
jobs = run(slow, range(99), 3, Path("w"))
next(jobs)
jobs.close()
print(json.dumps({"same": here == there, "heard": sorted(heard), "begun": len(begun),
                  "left": threading.active_count()}))
"""


def blocks() -> dict[str, str]:
    "The Python under each `### A …` of CONTRIBUTING.md, by what it adds."
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = {}
    for section in re.split(r"^### An? ", text, flags=re.M)[1:]:
        kind = section.split("\n")[0].strip()
        program = re.search(r"```python\n(.*?)```", section, re.S)
        if program:
            found[kind] = program.group(1)
    return found


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    "A folder with the files, and the environment that names them."
    folder = tmp_path_factory.mktemp("stranger")
    files = []
    for kind, program in blocks().items():
        files.append(folder / f"my_{kind}_page.py")
        files[-1].write_text(program, encoding="utf-8")
    names = os.pathsep.join(map(str, files))
    return folder, {**os.environ, "PPTRAIN_PLUGINS": names, "PYTHONPATH": str(ROOT)}


def said_by(command: list[str], stranger: tuple[Path, dict[str, str]]) -> str:
    folder, environment = stranger
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_is_a_file_of_about_twenty_lines():
    assert blocks().keys() == WANTED.keys()
    for kind, program in blocks().items():
        lines = [line for line in program.splitlines() if line.strip()]
        assert len(lines) <= 21 and WANTED[kind] in program, f"{kind}: {len(lines)} lines"


def test_the_command_lists_them(stranger):
    listed = said_by([tool("pptrain"), "tasks"], stranger)
    for name in WANTED.values():
        assert re.search(rf"\b{name}\b", listed), f"{name} is not in\n{listed}"


def test_the_explorer_draws_it(stranger):
    code = ("from pptrain.widgets import explore\n"
            "explorer = explore('counting')\n"
            "explorer.change(steps=3)\n"
            "print(explorer.example.text)")
    assert len(said_by([sys.executable, "-c", code], stranger).split()) == 4


def test_the_executor_writes_what_this_machine_writes(stranger):
    "With news on the way; closed after its first job, it leaves nobody at work."
    facts = json.loads(said_by([sys.executable, "-c", JOBS], stranger).splitlines()[-1])
    assert facts["same"] and facts["heard"] == [0, 1, 2, 3]
    assert facts["begun"] < 99 and facts["left"] == 1


@pytest.mark.slow
def test_recipe_study_and_report_know_them(stranger):
    facts = json.loads(said_by([sys.executable, "-c", STUDY], stranger).splitlines()[-1])
    assert facts["policy"] == "{name: without_part, part: norm}"
    for name in ("counting", "surprise", "without_part"):
        assert name in facts["yaml"]
    assert facts["variants"] == ["backward", "scratch", "transferred"]
    assert {"eval_loss", "surprise"} <= set(facts["metrics"])
