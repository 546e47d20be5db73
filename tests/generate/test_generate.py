"""Files for other trainers: the same bytes by whoever, whenever; nothing half-written."""
from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from pptrain import create_task
from pptrain.data import GENERATOR_VERSION, Example, TaskDataset, frozen, mixture, shuffled
from pptrain.errors import InputError
from pptrain.generate import FORMATS, generate, write_card

COMMAND = [sys.executable, "-c", "import sys; from pptrain.cli import main; sys.exit(main())",
           "generate"]


def smoke(family="dyck"):
    return create_task(family, preset="smoke")


def contents(folder):
    "File name -> bytes of all that is not hidden."
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("workers, method", [(2, "fork"), (3, "spawn"), (2, "forkserver")])
def test_no_byte_depends_on_who_writes(format, workers, method, tmp_path):
    asked = dict(count=700, format=format, shards=4, seed=5, quiet=True)
    generate(smoke(), tmp_path / "alone", **asked)
    generate(smoke(), tmp_path / "many", workers=workers, start_method=method, **asked)
    assert contents(tmp_path / "alone") == contents(tmp_path / "many")


@pytest.mark.parametrize("family", ["procedural", "dyck", "lime", "nca"])
def test_a_table_holds_the_rows(family, tmp_path):
    made = generate(smoke(family), tmp_path, 40, shards=2, seed=3, quiet=True)
    table = pd.concat([pd.read_parquet(path) for path in made.files], ignore_index=True)
    for i in (0, 19, 20, 39):
        row = smoke(family).sample(i, seed=3)
        features = {name: tensor.tolist() for name, tensor in row.features().items()}
        assert {name: table[name][i].tolist() for name in features} == features


def test_numbers_of_numpy_are_numbers(tmp_path):
    asked = dict(shards=np.int32(2), workers=np.int8(1), seed=np.uint64(3), epoch=np.int16(1))
    generate(smoke(), tmp_path / "numpy", np.int64(9), quiet=True, **asked)
    plain = {name: int(value) for name, value in asked.items()}
    generate(smoke(), tmp_path / "plain", 9, quiet=True, **plain)
    assert contents(tmp_path / "numpy") == contents(tmp_path / "plain")


@pytest.mark.parametrize("make", [
    lambda data: shuffled(data),
    lambda data: mixture([(data, 2), (shuffled(data), 1)], seed=4)], ids=["control", "mixture"])
def test_datasets_are_written_as_they_are(make, tmp_path):
    data = make(smoke().build_datasets(2).train_dataset)
    made = generate(data, tmp_path, 30, format="jsonl", quiet=True)
    lines = made.files[0].read_text().splitlines()
    written = [json.loads(line)["input_ids"] for line in lines]
    assert written == [data.example(i).ids.tolist() for i in range(30)]


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path):
    asked = ["lime", "--preset", "smoke", "-n", "12000", "--shards", "6", "--workers", "2"]
    subprocess.run([*COMMAND, *asked, "--out", tmp_path / "whole"], check=True)
    killed = subprocess.Popen([*COMMAND, *asked, "--out", tmp_path / "killed"])
    while not list((tmp_path / "killed").glob("*.parquet")):
        time.sleep(0.02)
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    time.sleep(1)      # its workers notice
    assert len(list((tmp_path / "killed").glob("*.parquet"))) < 6
    done = subprocess.run([*COMMAND, *asked, "--out", tmp_path / "killed"])
    assert done.returncode == 0
    assert contents(tmp_path / "whole") == contents(tmp_path / "killed")
    assert not list((tmp_path / "killed").glob(".*.part"))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_says_what_is_finished(workers, tmp_path):
    out = tmp_path / "rows"
    asked = ["lime", "--preset", "smoke", "-n", "200000", "--shards", "100", "--workers", workers]
    run = subprocess.Popen([*COMMAND, *asked, "--out", out], stderr=subprocess.PIPE, text=True,
                           start_new_session=True)
    while not list(out.glob("*.parquet")):
        time.sleep(0.05)
        assert run.poll() is None
    os.killpg(run.pid, signal.SIGINT)
    said = run.communicate(timeout=30)[1]
    assert run.returncode == 130 and "of 100 shards are finished" in said.splitlines()[-1]
    assert "Traceback" not in said and not list(out.glob(".*.part"))


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_is_one_line_and_leaves_no_draft(format, tmp_path):
    full = ("import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
            "from pptrain.cli import main; sys.exit(main())")
    asked = ["lime", "--preset", "smoke", "-n", "3000", "--format", format, "--out", tmp_path / "a"]
    run = subprocess.run([sys.executable, "-c", full, "generate", *asked], capture_output=True,
                         text=True)
    assert run.returncode == 2 and run.stderr.splitlines()[-1].startswith("error: ")
    assert "0 of 1 shards" in run.stderr and "Traceback" not in run.stderr
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"manifest.json"}


def test_damaged_and_foreign_folders(tmp_path):
    first = generate(smoke(), tmp_path, 50, format="bin", quiet=True)
    before = contents(tmp_path)
    first.files[0].unlink()
    generate(smoke(), tmp_path, 50, format="bin", quiet=True)
    assert contents(tmp_path) == before
    for changed in (dict(count=51), dict(seed=1), dict(format="jsonl"), dict(split="eval")):
        with pytest.raises(InputError, match="another stream"):
            generate(smoke(), tmp_path, **dict(count=50, format="bin") | changed)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        generate(smoke(), tmp_path, 50, format="bin")


BACKWARDS = """
from pptrain.executors import Done, Executor, register_executor

@register_executor("backwards")
class Backwards(Executor):
    "In this process, the last shard first."

    def each(self, work, jobs, workers, folder, heard, waits):
        for job in reversed(jobs):
            yield Done(job, work(job, lambda news=None: None))
"""


def test_an_executor_of_ones_own(tmp_path):
    (tmp_path / "own_executor.py").write_text(BACKWARDS)
    asked = ["dyck", "--preset", "smoke", "-n", "90", "--shards", "3"]
    known = os.environ | {"PPTRAIN_PLUGINS": str(tmp_path / "own_executor.py")}
    for name, more in (("a", []), ("b", ["--executor", "backwards"])):
        subprocess.run([*COMMAND, *asked, *more, "--out", tmp_path / name], check=True, env=known)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("package", ["ray", "submitit"])
def test_a_package_that_is_not_installed_is_named_before_any_work(package, tmp_path, monkeypatch):
    monkeypatch.setattr("pptrain.executors.base.find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"needs the package {package}: pip install {package}"):
        generate(smoke(), tmp_path / "a", 50, executor=package)
    assert not (tmp_path / "a").exists()


def documents(made):
    "The rows of `.bin` shards by their `.idx`, read as Megatron describes it."
    for at in range(0, len(made.files), 3):
        tokens, index = (path.read_bytes() for path in made.files[at:at + 2])
        name, version, code, rows, ends = struct.unpack_from("<9sQBQQ", index)
        assert (name, version, ends) == (b"MMIDIDX\0\0", 1, rows + 1)
        kind = {4: "<i4", 8: "<u2"}[code]
        sizes = np.frombuffer(index, "<i4", rows, 34)
        starts = np.frombuffer(index, "<i8", rows, 34 + 4 * rows)
        for size, start in zip(sizes, starts):
            yield np.frombuffer(tokens, kind, size, start).tolist()


@pytest.mark.parametrize("family", ["dyck", "lime", "procedural"])
def test_readers_of_others_find_the_rows(family, tmp_path):
    datasets = pytest.importorskip("datasets")
    task, asked = smoke(family), dict(count=50, shards=2, seed=3, quiet=True)
    rows = [task.sample(i, seed=3) for i in range(50)]
    ids = [row.ids.tolist() for row in rows]
    for name in ("parquet", "arrow", "jsonl"):
        made = generate(task, tmp_path / name, format=name, **asked)
        kind, files = name.replace("jsonl", "json"), list(map(str, made.files))
        table = datasets.load_dataset(kind, data_files=files, split="train",
                                      cache_dir=str(tmp_path / "cache"))
        assert list(map(list, table["input_ids"])) == ids
    made = generate(task, tmp_path / "bin", format="bin", **asked)
    kept = [slice(None) if row.attend is None else np.asarray(row.attend, bool) for row in rows]
    assert list(documents(made)) == [row.ids[part].tolist() for row, part in zip(rows, kept)]


def test_shares_hold_in_any_window_of_a_mixture():
    data = smoke().build_datasets(0).train_dataset
    drawn = mixture([(data, 1), (data, 3)], seed=9).examples.which(9, "train", 0, range(40_000))
    sums = np.concatenate([[0], np.cumsum(drawn)])
    windows = sums[10_000:] - sums[:-10_000]
    # three sigma for each of the four windows apart; the largest of all 30,000 may stray further
    sigma = np.sqrt(10_000 * .25 * .75)
    assert (abs(windows[::10_000] - 7500) < 3 * sigma).all()
    assert abs(windows - 7500).max() < 5 * sigma


def test_shards_of_another_generator_version_are_not_completed(tmp_path):
    generate(smoke(), tmp_path, 40, shards=2, quiet=True)
    manifest = tmp_path / "manifest.json"
    content = json.loads(manifest.read_text())
    assert content["spec"]["generator"] == GENERATOR_VERSION
    content["spec"] |= {"generator": GENERATOR_VERSION - 1, "fingerprint": "of other items"}
    content["shards"] = content["shards"][:1]
    manifest.write_text(json.dumps(content))
    before = contents(tmp_path)
    with pytest.raises(InputError) as refusal:
        generate(smoke(), tmp_path, 40, shards=2, quiet=True)
    sentence = str(refusal.value)
    assert f"generator version {GENERATOR_VERSION - 1}" in sentence and "\n" not in sentence
    assert f"of version {GENERATOR_VERSION}; choose another folder" in sentence
    assert contents(tmp_path) == before


def rows_of_id(number):
    def examples(seed, split, epoch, indices):
        return [Example([number], [1]) for _ in indices]
    return TaskDataset(examples, 3)


@pytest.mark.parametrize("format", FORMATS)
def test_an_id_that_does_not_fit_is_not_written_as_another(format, tmp_path):
    generate(rows_of_id(2**31 - 1), tmp_path / "fits", format=format, quiet=True)
    for number in (2**31, 2**40 + 7):
        with pytest.raises(InputError, match=f"id={number}: .* 2147483647"):
            generate(rows_of_id(number), tmp_path / f"{number}", format=format, quiet=True)


@pytest.mark.parametrize("change", [
    lambda data: (frozen(data, 64), frozen(data, 100)),
    lambda data: (mixture([(data, {0: 1}), (data, {0: 0, 90: 0, 200: 1})], count=300),
                  mixture([(data, {0: 1}), (data, {0: 0, 90: 0, 250: 1})], count=300))])
def test_streams_that_begin_alike_are_told_apart(change, tmp_path):
    one, other = change(smoke().build_datasets(0).train_dataset)
    generate(one, tmp_path, 300, shards=2, quiet=True)
    before = contents(tmp_path)
    generate(one, tmp_path, 300, shards=2, quiet=True)
    with pytest.raises(InputError, match="another stream"):
        generate(other, tmp_path, 300, shards=2, quiet=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("format", FORMATS)
def test_tokens_are_counted_without_padding(format, tmp_path):
    task = smoke("probes")
    made = generate(task, tmp_path, 40, format=format, shards=2, quiet=True)
    rows = [task.sample(i) for i in range(40)]
    assert made.total("tokens") == sum(int(np.sum(row.attend)) for row in rows)


def test_bare_tokens_say_their_type(tmp_path):
    small = generate(smoke(), tmp_path / "a", 9, format="bin", quiet=True)
    large = generate(rows_of_id(70_000), tmp_path / "b", format="bin", quiet=True)
    for made, name in ((small, "uint16"), (large, "int32")):
        assert made.manifest["dtype"] == name and name in write_card(made).read_text()
        assert made.files[0].stat().st_size == made.total("tokens") * np.dtype(name).itemsize


def test_a_card_names_the_shards_and_no_guest(tmp_path):
    datasets = pytest.importorskip("datasets")
    made = generate(smoke(), tmp_path / "rows", 60, shards=3, quiet=True)
    write_card(made)
    for guest in ("train-00000-of-00009.parquet", "copy.parquet"):
        (tmp_path / "rows" / guest).write_bytes(made.files[0].read_bytes())
    read = datasets.load_dataset(str(tmp_path / "rows"), split="train",
                                 cache_dir=str(tmp_path / "cache"))
    assert len(read) == 60


def test_a_finished_folder_is_left_as_it_is(tmp_path):
    made = generate(smoke(), tmp_path, 60, shards=3, quiet=True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert generate(smoke(), tmp_path, 60, shards=3, quiet=True) == made
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
