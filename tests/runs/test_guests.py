"""What a user keeps where a run writes is never lost, and never mistaken for a run's."""
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pptrain import InputError, TransferBundle
from pptrain.files import write_atomic
from pptrain.runs import RunConfig
from pptrain.runs.folder import checkpoints, claim, clear, write_record
from torch import nn

MINE = {"history.csv": "year,event\n", "summary.json": '{"mean": 3}', "bundle/README.md": "mine",
        "bundle/model/w.bin": "mine", "bundle": "a file"}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", MINE)
def test_a_file_with_the_name_of_ours_is_its_owners(tmp_path, name, overwrite):
    write_atomic(tmp_path / name, MINE[name])
    with pytest.raises(InputError, match="move it away|without run.json"):
        with claim(RunConfig(tmp_path, overwrite=overwrite), {}): raise AssertionError
    assert (tmp_path / name).read_text() == MINE[name]


def saved(folder: Path) -> TransferBundle:
    torch.manual_seed(0)
    return TransferBundle.save(nn.Linear(2, 2), folder, task_name="demo", task_config={},
                               tokenizer_spec={"vocab_size": 2})


def test_guests_of_a_bundle_outlive_it(tmp_path):
    "Written anew, cleared, damaged and written anew: what no manifest lists stays."
    saved(tmp_path)
    guests = [tmp_path / "bundle" / "notes.txt", tmp_path / "bundle" / "model" / "sub" / "mine"]
    for guest in guests:
        write_atomic(guest, "mine")
    bundle = saved(tmp_path)
    assert TransferBundle.load(tmp_path).weights_sha256 == bundle.weights_sha256
    assert all(guest.read_text() == "mine" for guest in guests)
    clear(tmp_path)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(left) == sorted(guests)


def test_a_damaged_bundle_makes_way_for_a_new_one(tmp_path):
    saved(tmp_path)
    (tmp_path / "bundle" / "bundle.json").write_text("{")
    write_atomic(tmp_path / "bundle" / "notes.txt", "mine")
    saved(tmp_path)
    TransferBundle.load(tmp_path)
    assert (tmp_path / "bundle" / "notes.txt").read_text() == "mine"


def test_digits_are_those_that_a_trainer_writes(tmp_path):
    write_atomic(tmp_path / "checkpoint-\u0663" / "config.json", "{}")
    write_atomic(tmp_path / "checkpoint-4" / "config.json", "{}")
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-4"]


def test_a_bundle_that_lost_its_manifest_is_its_runs(tmp_path):
    "Beside a run's record what is left of a bundle is no guest: `overwrite` starts over."
    write_record(tmp_path, {}, RunConfig(tmp_path))
    write_atomic(tmp_path / "summary.json", '{"metrics": {}}')
    saved(tmp_path)
    write_atomic(tmp_path / "bundle" / "notes.txt", "mine")
    (tmp_path / "bundle" / "bundle.json").unlink()
    with claim(RunConfig(tmp_path, overwrite=True), {}):
        clear(tmp_path)
        saved(tmp_path)
    assert TransferBundle.load(tmp_path) and (tmp_path / "bundle" / "notes.txt").exists()
