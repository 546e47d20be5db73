"""The command as a stranger meets it: exit codes, one error line, no traceback, JSON that parses."""
from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pptrain.cli import main

FIT = {"task": {"name": "procedural", "config": {"preset": "smoke", "eval_sequence_count": 8}},
       "model": {"model_name_or_path": "gpt2-1_2_16"},
       "run": {"max_steps": 4, "per_device_train_batch_size": 4, "logging_steps": 2, "save_steps": 2, "eval_steps": 4}}


def pptrain(*argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    "Run a command line in this process, as `main` does for the console script."
    out, err, here = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(cwd or here)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err): status = main(argv)
    finally: os.chdir(here)
    return subprocess.CompletedProcess(argv, status, out.getvalue(), err.getvalue())


def refused(done: subprocess.CompletedProcess, *words: str):
    "Exit 2, exactly one line on stderr, it starts with `error:` and has the words."
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert len(lines) == 1 and lines[0].startswith("error:"), done.stderr
    for word in words: assert word in lines[0], lines[0]


def written(folder: Path, name: str = "fit.yaml", **parts) -> Path:
    "A config file in `folder`, `FIT` with parts replaced."
    config = {**FIT, "run": {**FIT["run"], "output_dir": str(folder / "run")}}
    path = folder / name
    path.write_text(yaml.safe_dump({k: {**config[k], **parts.get(k, {})} for k in config}))
    return path


def test_tasks_and_show_speak_json():
    families = json.loads(pptrain("tasks", "--json").stdout)
    assert {"procedural", "dyck"} <= {f["name"] for f in families}
    shown = json.loads(pptrain("show", "procedural", "--preset", "smoke", "-n", "2", "--json").stdout)
    assert len(shown) == 2 and len(shown[0]["ids"]) == len(shown[0]["mask"])
    assert shown == json.loads(pptrain("show", "procedural", "--preset", "smoke", "-n", "2", "--json").stdout)


@pytest.mark.parametrize("argv, words", [
    (["tasks", "procedurl"], ["procedural"]),
    (["show", "procedural", "--preset", "paper_union_len65"], ["paper_union_len64"]),
    (["show", "procedural", "--set", "lenght=3"], ["length"]),
    (["show", "procedural", "--set", "length=long"], ["length", "long"]),
    (["show", "procedural", "--set", "max_length=5"], ["max_length", "smallest", "129"]),
    (["show", "procedural", "--set", "length"], ["--set"]),
    (["show", "procedural", "-n", "0"], ["-n"]),
    (["fit", "nowhere.yaml"], ["nowhere.yaml"]),
    (["parity", "procedural", "nowhere.json"], ["nowhere.json"]),
    (["report", "nowhere"], ["nowhere"]),
    (["replicate", "--profile", "gpu"], ["gpu", "reserved"]),
    (["replicate", "--executor", "submitit"], ["submitit", "reserved"]),
    (["generate", "dyck", "--preset", "smoke", "-n", "5", "--out", "x"], ["generate", "reserved"]),
    (["nonsense"], ["nonsense"]),
    (["show"], ["family"]),
])
def test_bad_usage_is_one_line(argv, words, tmp_path):
    done = pptrain(*argv, cwd=tmp_path)
    done.stderr = done.stderr.replace("FAMILY", "family")
    refused(done, *words)


def test_bad_configs_are_one_line(tmp_path):
    (tmp_path / "list.yaml").write_text("- a\n")
    refused(pptrain("fit", str(tmp_path / "list.yaml")), "mapping")
    (tmp_path / "broken.yaml").write_text("a: [b\n")
    refused(pptrain("fit", str(tmp_path / "broken.yaml")), "broken.yaml")
    refused(pptrain("fit", str(written(tmp_path, run={"max_stepz": 3}))), "max_stepz", "max_steps")
    refused(pptrain("fit", str(written(tmp_path, run={"max_steps": "many"}))), "max_steps", "many")
    refused(pptrain("fit", str(written(tmp_path, model={"model_name_or_path": "gpt3000"}))), "gpt3000")
    refused(pptrain("fit", str(written(tmp_path, model={"config_overrides": {"n_positions": 8}}))), "n_positions")
    (tmp_path / "file").write_text("")
    refused(pptrain("fit", str(written(tmp_path, run={"output_dir": str(tmp_path / "file" / "run")}))), "output_dir")
    (tmp_path / "eval.yaml").write_text("corpus: nowhere/*.txt\n")
    done = pptrain("fit", str(written(tmp_path)), "--eval-config", str(tmp_path / "eval.yaml"))
    refused(done, "nowhere")


def test_parity_statuses(tmp_path):
    vectors = Path(__file__).parent / "vectors" / "procedural" / "dev.json"
    good = json.loads(vectors.read_text())
    good["samples"] = {k: v for k, v in good["samples"].items() if k.startswith("sort")}
    bad = json.loads(json.dumps(good))
    section = next(iter(bad["samples"]))
    bad["samples"][section]["records"][1]["ids"][-1] ^= 1
    for name, vectors in (("good", good), ("bad", bad), ("empty", {})): (tmp_path / f"{name}.json").write_text(json.dumps(vectors))
    assert pptrain("parity", "procedural", str(tmp_path / "good.json")).returncode == 0
    found = pptrain("parity", "procedural", str(tmp_path / "bad.json"))
    assert found.returncode == 1 and f"mismatch: {section} record 1" in found.stdout
    assert pptrain("parity", "procedural", str(tmp_path / "empty.json")).returncode == 1
    (tmp_path / "no.json").write_text("{")
    refused(pptrain("parity", "procedural", str(tmp_path / "no.json")), "no.json")


def test_fit_trains_and_answers_in_json(tmp_path):
    done = pptrain("fit", str(written(tmp_path)), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    again = json.loads(pptrain("fit", str(written(tmp_path)), "--json").stdout)
    assert told["metrics"]["weights_sha256"] == again["metrics"]["weights_sha256"]
    refused(pptrain("fit", str(written(tmp_path, run={"seed": 9})), "--json"), "seed")


def test_the_console_script_in_a_process_of_its_own():
    def script(*argv): return subprocess.run([sys.executable, "-c", "import sys; from pptrain.cli import main; sys.exit(main())", *argv],
                                             capture_output=True, text=True, timeout=300)
    refused(script("tasks", "procedurl"), "procedural")
    assert script("show", "procedural", "--preset", "smoke", "-n", "1").returncode == 0
    assert "Traceback" in script("tasks", "procedurl", "--traceback").stderr
