"""Damage in a run directory is named, or worked around aloud; never trained on."""
from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from pptrain import InputError, PrePreTrainer, RunConfig, TransferBundle, create_task
from pptrain.data import GENERATOR_VERSION
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.runs.folder import checkpoints, damage


class PowerCut(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        if state.global_step == 7: raise RuntimeError("power cut")


def trainer(folder: Path, *callbacks, **settings) -> PrePreTrainer:
    "Eight steps of four rows, with dropout, a checkpoint every two."
    torch.set_num_threads(1)
    task = create_task("procedural", preset="smoke", sequence_count=64, eval_sequence_count=4)
    small = {"n_positions": 64}
    model = HFCausalLMAdapter(HFModelConfig("gpt2-1_2_16", config_overrides=small))
    sizes = dict(max_steps=8, per_device_train_batch_size=4, save_steps=2, eval_steps=8)
    return PrePreTrainer(task, model, RunConfig(folder, **{**sizes, **settings}), callbacks)


def cut_off(folder: Path, **settings) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        trainer(folder, PowerCut(), **settings).fit()


def flip(path: Path, place: float = 0.5) -> None:
    "Flips a bit of the byte at a share of the file."
    raw = bytearray(path.read_bytes())
    raw[int(place * (len(raw) - 1))] ^= 4
    path.write_bytes(raw)


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    "A finished run in `whole`, one that was cut off at step 7 in `cut`."
    folder = tmp_path_factory.mktemp("damage")
    trainer(folder / "whole").fit()
    cut_off(folder / "cut")
    return folder


def weights(folder: Path) -> str:
    return json.loads((folder / "summary.json").read_text())["metrics"]["weights_sha256"]


@pytest.mark.parametrize("place", [0.0, 0.37, 1.0])
def test_a_flipped_bit_anywhere_in_a_checkpoint_is_seen(work, tmp_path, place):
    [_, newest] = checkpoints(work / "cut")
    assert newest.name == "checkpoint-6" and damage(newest) is None
    names = sorted(path.name for path in newest.iterdir())
    assert {"model.safetensors", "optimizer.pt", "trainer_state.json", "pptrain.json"} <= set(names)
    for name in names:
        copy = shutil.copytree(newest, tmp_path / name / "checkpoint-6")
        flip(copy / name, place)
        assert name in damage(copy)


def test_the_older_checkpoint_is_taken_and_said_so(work, tmp_path, capsys):
    folder = shutil.copytree(work / "cut", tmp_path / "run")
    flip(folder / "checkpoint-6" / "optimizer.pt")
    trainer(folder).fit()
    said = capsys.readouterr().err
    assert "run: checkpoint-6 cannot be used: " in said and "optimizer.pt is damaged" in said
    assert "goes on from step 4 of 8" in said
    assert weights(folder) == weights(work / "whole")


def test_without_a_whole_checkpoint_a_run_starts_over_and_says_so(work, tmp_path, capsys):
    folder = shutil.copytree(work / "cut", tmp_path / "run")
    flip(folder / "checkpoint-6" / "model.safetensors")
    (folder / "checkpoint-4" / "pptrain.json").unlink()
    trainer(folder).fit()
    said = capsys.readouterr().err
    assert "checkpoint-4 cannot be used: it was not finished" in said
    assert "no whole checkpoint is left; starts over" in said and "goes on" not in said
    assert weights(folder) == weights(work / "whole")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


LOST = {"bundle": shutil.rmtree, "bundle/bundle.json": Path.unlink, "bundle/model": shutil.rmtree,
        "bundle/model/model.safetensors": flip, "bundle/model/config.json": cut,
        "summary.json": cut, "run.json": cut}

@pytest.mark.parametrize("name", LOST)
def test_a_finished_run_that_lost_a_part_is_refused_by_its_name(work, tmp_path, name):
    folder = shutil.copytree(work / "whole", tmp_path / "run")
    LOST[name](folder / name)
    before = sorted(folder.rglob("*"))
    with pytest.raises(InputError) as refusal:
        trainer(folder).fit()
    sentence = str(refusal.value)
    assert str(folder / name) in sentence and "\n" not in sentence and "overwrite=True" in sentence
    assert sorted(folder.rglob("*")) == before
    if name == "bundle":
        again = trainer(folder, overwrite=True).fit()
        assert again.metrics["weights_sha256"] == weights(work / "whole")


@pytest.mark.parametrize("name", ["whole", "cut"])
def test_a_run_on_items_of_another_generator_version_does_not_go_on(work, tmp_path, name):
    folder = shutil.copytree(work / name, tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    assert record["spec"]["generator"] == GENERATOR_VERSION
    record["spec"] |= {"generator": GENERATOR_VERSION - 1, "fingerprint": "of other items"}
    (folder / "run.json").write_text(json.dumps(record))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError) as refusal:
        trainer(folder).fit()
    sentence = str(refusal.value)
    assert f"generator version {GENERATOR_VERSION - 1}" in sentence and "\n" not in sentence
    assert f"of version {GENERATOR_VERSION};" in sentence and "overwrite=True" in sentence
    assert {path: path.read_bytes() for path in before} == before


def test_numbers_and_weights_of_two_runs_do_not_mix(work, tmp_path):
    folder = shutil.copytree(work / "whole", tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    summary["metrics"]["eval_loss"] /= 2
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match="summary.json is damaged: the bundle"):
        trainer(folder).fit()


def test_a_run_of_an_earlier_version_is_called_that(work, tmp_path):
    folder = shutil.copytree(work / "whole", tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    assert record["format"] == 1 and record["pptrain"]
    earlier = {"spec": record["spec"] | {"run": {"per_device_eval_batch_size": 8}},
               "settings": record["settings"]}
    (folder / "run.json").write_text(json.dumps(earlier))
    with pytest.raises(InputError, match="a run of another pptrain") as refusal:
        trainer(folder).fit()
    assert "per_device" not in str(refusal.value)


def test_old_checkpoints_go_and_a_copy_of_the_users_stays(tmp_path):
    "By step, whatever the clock says of the folders."
    cut_off(tmp_path / "run")
    best = shutil.copytree(tmp_path / "run" / "checkpoint-4", tmp_path / "run" / "checkpoint-best")
    os.utime(best, (1, 1))
    os.utime(tmp_path / "run" / "checkpoint-6", (2, 2))
    trainer(tmp_path / "run", save_total_limit=1, remove_checkpoints=False).fit()
    left = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
    assert left == ["checkpoint-8", "checkpoint-best"]
    assert (best / "model.safetensors").exists()


def test_what_is_refused_leaves_nothing_and_costs_nothing(work, tmp_path):
    "A model that does not fit: no folder; and an earlier run stays, although it was to go."
    small = HFCausalLMAdapter(HFModelConfig("gpt2-1_2_16", config_overrides={"n_positions": 8}))
    earlier = shutil.copytree(work / "whole", tmp_path / "earlier")
    for folder in (tmp_path / "new" / "deep", earlier):
        task = create_task("procedural", preset="smoke", sequence_count=64)
        with pytest.raises(InputError):
            PrePreTrainer(task, small, RunConfig(folder, overwrite=True)).fit()
    assert not (tmp_path / "new").exists()
    assert weights(earlier) == TransferBundle.load(earlier).weights_sha256
