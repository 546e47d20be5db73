"""The command as a stranger meets it: exit codes, one error line, no traceback, plain JSON."""
from __future__ import annotations

import contextlib
import copy
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from pptrain.cli import main

FIT = {
    "task": {"name": "procedural", "config": {"preset": "smoke", "eval_sequence_count": 8}},
    "model": {"model_name_or_path": "gpt2-1_2_16"},
    "run": {"max_steps": 4, "per_device_train_batch_size": 4, "logging_steps": 2, "save_steps": 2,
            "eval_steps": 4},
}


def pptrain(*argv: str | Path) -> subprocess.CompletedProcess:
    "Run a command line in this process, as `main` does for the console script."
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(word) for word in argv])
    return subprocess.CompletedProcess(argv, status, out.getvalue(), err.getvalue())


def refused(done: subprocess.CompletedProcess, *words: str):
    "Exit 2, exactly one line on stderr, it starts with `error:` and has the words."
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert len(lines) == 1 and lines[0].startswith("error:"), done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def written(folder: Path, **parts) -> Path:
    "A config file in `folder`, `FIT` with parts replaced."
    config = copy.deepcopy(FIT)
    config["run"]["output_dir"] = str(folder / "run")
    for part, values in parts.items():
        config[part].update(values)
    path = folder / "fit.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_tasks_and_show_speak_json():
    families = json.loads(pptrain("tasks", "--json").stdout)
    assert {"procedural", "dyck"} <= {family["name"] for family in families}
    command = ["show", "procedural", "--preset", "smoke", "-n", "2", "--json"]
    examples = json.loads(pptrain(*command).stdout)
    assert len(examples) == 2 and len(examples[0]["ids"]) == len(examples[0]["mask"])
    assert examples == json.loads(pptrain(*command).stdout)


@pytest.mark.parametrize("argv, words", [
    (["tasks", "procedurl"], ["procedural"]),
    (["show", "procedural", "--preset", "paper_union_len65"], ["paper_union_len64"]),
    (["show", "procedural", "--set", "lenght=3"], ["length"]),
    (["show", "procedural", "--set", "length=long"], ["length", "long"]),
    (["show", "procedural", "--set", "max_length=5"], ["max_length", "smallest", "129"]),
    (["show", "procedural", "--set", "length"], ["--set"]),
    (["show", "procedural", "-n", "0"], ["-n"]),
    (["fit", "nowhere.yaml"], ["nowhere.yaml", "does not exist", "pptrain config"]),
    (["fit", "/"], ["is a folder"]),
    (["fit", "a.yaml", "--set", "a=" + "[" * 3000], ["--set", "nested"]),
    (["fit", "a.yaml", "--set", "run.seed=" + "9" * 5000], ["--set", "too large"]),
    (["parity", "procedural", "nowhere.json"], ["nowhere.json"]),
    (["parity", "repetition"], ["'repetition' has no reference vectors to replay"]),
    (["report", "nowhere"], ["nowhere"]),
    (["replicate", "--profile", "gpw"], ["gpw", "gpu"]),
    (["replicate", "--seeds", "1,1"], ["1,1", "twice"]),
    (["replicate", "--executor", "rey"], ["ray", "local"]),
    (["replicate", "--executor-option", "cpus=3"], ["cpus", "start_method"]),
    (["generate", "dyck", "--out", "x", "--executor", "slurm"], ["submitit"]),
    (["replicate", "--family", "nosuch"], ["nosuch", "dyck"]),
    (["config", "dick"], ["dyck"]),
    (["generate", "dyck", "--preset", "smoke", "-n", "5"], ["--out"]),
    (["generate", "dick", "--out", "x"], ["dyck"]),
    (["generate", "dyck", "--preset", "smoke", "--out", "x", "--format", "csv"], ["csv", "jsonl"]),
    (["generate", "dyck", "--preset", "smoke", "--out", "x", "-n", "0"], ["count=0"]),
    (["nonsense"], ["nonsense"]),
    (["show"], ["Missing argument"]),
])
def test_bad_usage_is_one_line(argv, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(pptrain(*argv), *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text, word", [("- a\n", "mapping"), ("a: [b\n", "config.yaml")])
def test_a_file_that_is_no_config_is_one_line(text, word, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    refused(pptrain("fit", tmp_path / "config.yaml"), word)


@pytest.mark.parametrize("parts, words", [
    ({"run": {"max_stepz": 3}}, ["max_stepz", "max_steps"]),
    ({"run": {"max_steps": "many"}}, ["max_steps", "many"]),
    ({"model": {"model_name_or_path": "gpt3000"}}, ["gpt3000"]),
    ({"model": {"config_overrides": {"n_positions": 8}}}, ["n_positions"]),
    ({"run": {"report_to": "nosuch"}}, ["report_to", "nosuch"]),
    ({"run": {"optim": "adamw_torch_npu_fused"}}, ["optim", "npu"]),
    ({"run": {"lr_scheduler_type": "warmup_stable_decay"}}, ["lr_scheduler_type", "num_decay"]),
    ({"run": {"seed": 2**32}}, ["seed", "2**32"]),
    ({"run": {"per_device_train_batch_size": 10_000, "dataloader_drop_last": True}}, ["10000"]),
])
def test_bad_configs_are_one_line_and_leave_nothing(parts, words, tmp_path):
    refused(pptrain("fit", written(tmp_path, **parts)), *words)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    config = written(tmp_path, run={"output_dir": str(tmp_path / "file" / "run")})
    refused(pptrain("fit", config), "output_dir")


def test_a_bad_evaluation_is_one_line(tmp_path):
    (tmp_path / "eval.yaml").write_text("corpus: nowhere/*.txt\n")
    done = pptrain("fit", written(tmp_path), "--eval-config", tmp_path / "eval.yaml")
    refused(done, "nowhere")
    assert not (tmp_path / "run").exists(), "the first stage was trained before the slip was seen"


@pytest.mark.parametrize("slip", [
    "max_length: 4096", "learning_rate: .inf", "seed: 4294967296", "measures: [perplexty]",
    "policy: {name: components, keep: [mlp], layers: '9:'}",
    "tasks: [{type: perplexity, corpus: x}]",
])
def test_slips_of_an_evaluation_are_found_before_the_first_stage(slip, tmp_path):
    (tmp_path / "eval.yaml").write_text(f"max_bytes: 60000\nvocab_size: 300\n{slip}\n")
    refused(pptrain("fit", written(tmp_path), "--eval-config", tmp_path / "eval.yaml"))
    assert not (tmp_path / "run").exists()


def test_a_file_of_a_billion_values_is_one_line(tmp_path):
    lines = ["a0: &a0 [x]"]
    for i in range(1, 12):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]")
    (tmp_path / "a.yaml").write_text("\n".join(lines))
    refused(pptrain("fit", tmp_path / "a.yaml"), "a.yaml", "aliases")


def test_help_says_where_work_can_be_done_in_whole_sentences():
    shown = pptrain("--help").stdout + pptrain("replicate", "--help").stdout
    for told in (shown, pptrain("generate", "--help").stdout):
        for name in ("local", "ray", "submitit"):
            assert re.search(rf"\b{name}\b", told)
    for sentence in ("policies, measures, controls and executors.", "until Ctrl-C."):
        assert sentence in " ".join(shown.split()), "help cuts its sentences"


CONFIGS = sorted((ROOT / "configs").glob("*_minimal.yaml"))
FAMILIES = [path.name.removesuffix("_minimal.yaml") for path in CONFIGS]


@pytest.mark.parametrize("family", FAMILIES)
def test_configs_are_what_the_command_writes(family):
    from pptrain import load_recipe
    written = pptrain("config", family).stdout
    assert written == (ROOT / "configs" / f"{family}_minimal.yaml").read_text()
    recipe = load_recipe(yaml.safe_load(written))
    assert max(map(len, written.splitlines())) <= 110
    settings = yaml.safe_load("\n".join(re.findall(r"^    # (.*)$", written, re.M)))
    exported = json.loads(json.dumps(recipe.create_task().export_config()))
    assert settings == {name: exported[name] for name in settings} and len(settings) > 1


def test_vectors_travel_with_the_package():
    done = pptrain("parity", "procedural", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["checked"] > 100


def test_parity_statuses(tmp_path):
    vectors = json.loads((ROOT / "tests" / "vectors" / "procedural" / "dev.json").read_text())
    sections = {name: section for name, section in vectors["samples"].items()
                if name.startswith("sort")}
    good = vectors | {"samples": sections}
    bad = copy.deepcopy(good)
    section = next(iter(sections))
    bad["samples"][section]["records"][1]["ids"][-1] ^= 1
    for name, content in (("good", good), ("bad", bad), ("empty", {})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "no.json").write_text("{")

    assert pptrain("parity", "procedural", tmp_path / "good.json").returncode == 0
    done = pptrain("parity", "procedural", tmp_path / "bad.json")
    assert done.returncode == 1 and f"mismatch: {section} record 1" in done.stdout
    assert pptrain("parity", "procedural", tmp_path / "empty.json").returncode == 1
    refused(pptrain("parity", "procedural", tmp_path / "no.json"), "no.json")


def test_fit_trains_and_answers_in_json(tmp_path):
    done = pptrain("fit", written(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)["metrics"]
    again = json.loads(pptrain("fit", written(tmp_path), "--json").stdout)["metrics"]
    assert first["weights_sha256"] == again["weights_sha256"]
    refused(pptrain("fit", written(tmp_path, run={"seed": 9}), "--json"), "seed",
            "--set run.overwrite=true")


def test_fit_says_what_it_does_and_that_nothing_was_left_to_do(tmp_path):
    first = pptrain("fit", written(tmp_path))
    for said in ("gpt2-1_2_16", "from scratch", "parameters", "4 rows", "4 steps", "cpu"):
        assert said in first.stderr
    assert 4 <= len(first.stderr.splitlines()) <= 3 + 10
    assert "done:" in first.stdout and "a guess among 29 tokens" in first.stdout
    again = pptrain("fit", written(tmp_path))
    assert not again.stderr and "nothing was trained" in again.stdout
    assert first.stdout.splitlines()[1:] == again.stdout.splitlines()[1:]


def test_a_dry_run_says_what_it_would_cost_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = pptrain("replicate", "--test", "--seeds", "3,4", "--dry-run")
    assert done.returncode == 0 and not done.stderr and not list(tmp_path.iterdir())
    for said in ("dyck", "procedural", "3,4", "8 runs", "tokens", "FLOPs", "nothing was run"):
        assert said in done.stdout
    refused(pptrain("replicate", "--family", "nosuch", "--dry-run"), "nosuch", "dyck")


def script(*argv: str) -> subprocess.CompletedProcess:
    "The console script, in a process of its own."
    code = "import sys; from pptrain.cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True,
                          timeout=300)


def test_an_empty_folder_is_refused_and_not_the_one_we_stand_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(pptrain("replicate", "--test", "--output-dir", ""), "--output-dir", "is empty")
    refused(pptrain("report", ""), "folder", "is empty")
    assert not list(tmp_path.iterdir())


def test_a_yes_is_no_number_and_neither_is_a_slip(tmp_path):
    path = written(tmp_path)
    refused(pptrain("fit", path, "--set", "run.max_steps=true"), "max_steps", "not yes or no")
    refused(pptrain("fit", path, "--set", "run.learning_rate=1e-3_0"), "learning_rate", "1e-3_0")


@pytest.mark.slow
def test_a_dry_run_in_a_process_of_its_own_complains_of_nothing():
    "What libraries warn of once is said in a fresh process only."
    done = script("replicate", "--test", "--family", "dyck", "--dry-run")
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "4 arms a seed in dyck: scratch; transferred; shuffled; natural" in done.stdout


def test_the_console_script_in_a_process_of_its_own():
    refused(script("tasks", "procedurl"), "procedural")
    assert script("show", "procedural", "--preset", "smoke", "-n", "1").returncode == 0
    assert "Traceback" in script("tasks", "procedurl", "--traceback").stderr
