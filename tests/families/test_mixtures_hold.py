"""Mixtures: shares in every stretch of items, schedules that are functions of the address."""
from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from pptrain import PrePreTrainer, create_task, load_recipe
from pptrain.data import TaskDataset, mixture, shuffled
from pptrain.data.examples import Example
from pptrain.data.mixtures import BLOCK, LANE, shares_at, spread
from pptrain.errors import InputError

WIDTH = 10_000


def named(word, count=1000):
    def examples(seed, split, epoch, indices):
        return [Example([i % 7, epoch], [1, 1], {"from": word}) for i in indices]
    return TaskDataset(examples, count)


def mixed(weights, seed=0, count=10**6, **more):
    parts = [(named(f"part {i}"), weight) for i, weight in enumerate(weights)]
    return mixture(parts, seed=seed, count=count, **more)


def worst_sigmas(chosen, shares):
    "The largest deviation of any `WIDTH` items in a row, in the sigma of independent draws."
    worst = 0.0
    for part, share in enumerate(shares):
        seen = np.cumsum(np.append(0, chosen == part))
        wanted = share * WIDTH
        off = np.abs(seen[WIDTH:] - seen[:-WIDTH] - wanted).max()
        worst = max(worst, off / np.sqrt(WIDTH * share * (1 - share)))
    return worst


@pytest.mark.parametrize("weights", [
    (1, 1), (3, 1), (.2, .8), (1, 2, 3, 4), (1, 99), (1, 999), tuple(range(1, 14))])
@pytest.mark.parametrize("seed, split, epoch, first", [
    (0, "train", 0, 0), (7, "train", 3, 123_457), (-1, "eval", 0, 10**12)])
def test_shares_hold_in_every_stretch_of_ten_thousand_items(weights, seed, split, epoch, first):
    data = mixed(weights, seed, count=10**13, split=split)
    chosen = data.examples.which(seed, split, epoch, range(first, first + 60_000))
    assert worst_sigmas(chosen, np.array(weights) / sum(weights)) < 3


def test_a_share_of_a_block_is_exact_to_two_items():
    for weights in ((1, 1), (1, 2, 3), (1, 999), (5, 7, 11, 13)):
        data, shares = mixed(weights), np.array(weights) / sum(weights)
        for block in (0, 5, 900):
            which = data.examples.which(0, "train", 0, range(block * BLOCK, (block + 1) * BLOCK))
            counts = np.bincount(which, minlength=len(weights))
            assert (np.abs(counts - shares * BLOCK) < 2).all()


def test_what_stands_where_is_left_to_chance():
    "The part of an item says next to nothing about the part of its neighbour, near or far."
    chosen = mixed((1, 1)).examples.which(0, "train", 0, range(200_000))
    for gap in (1, 2, 3, 7, 512, BLOCK):
        agree = (chosen[gap:] == chosen[:-gap]).mean()
        assert abs(agree - .5) < .006, gap     # 4 sigma, and 1/2048 for what is spread
    streams = [spread(*place, LANE) for place in (
        (0, "train", 0, 0), (1, "train", 0, 0), (0, "eval", 0, 0), (0, "train", 1, 0),
        (0, "train", 0, 1))]
    for i, one in enumerate(streams):
        for other in streams[:i]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 4 / BLOCK ** .5


def test_a_mixture_within_a_mixture_has_its_shares_in_each_part():
    inner = mixed((1, 1))
    outer = mixture([(inner, 1), (named("c"), 1)], seed=0, count=10**6)
    names = [row.meta["from"] for row in outer.batch(range(20_000))]
    shares = {name: names.count(name) / len(names) for name in ("part 0", "part 1", "c")}
    assert shares["c"] == pytest.approx(.5, abs=.005)
    assert shares["part 0"] == pytest.approx(.25, abs=.01)
    assert shares["part 1"] == pytest.approx(.25, abs=.01)


@pytest.mark.parametrize("view", [
    lambda task: task, lambda task: task.build_datasets().train_dataset,
    lambda task: shuffled(task.build_datasets().train_dataset)], ids=["task", "rows", "control"])
def test_a_family_that_is_a_mixture_keeps_its_shares_inside_another(view):
    inside = create_task("mixture", {"parts": [
        {"name": name, "config": {"preset": "smoke"}} for name in ("dyck", "lime")]})
    outer = mixture([(view(inside), 1), (named("c"), 1)], seed=0, count=2000)
    found = [row.meta.get("part") for row in outer.batch(range(2000))]
    for part in (*inside.labels, None):
        share = .5 if part is None else .25
        assert found.count(part) / 2000 == pytest.approx(share, abs=.03), part


def test_held_out_rows_stay_held_out():
    bundle = create_task("dyck", preset="smoke").build_datasets(0)
    held = mixture([(bundle.eval_dataset, 1)], count=9)
    assert held.example(3).ids.tolist() == bundle.eval_dataset.example(3).ids.tolist()
    with pytest.raises(InputError, match="eval and train"):
        mixture([(bundle.eval_dataset, 1), (bundle.train_dataset, 1)])


@pytest.mark.filterwarnings("error")
def test_a_weight_of_numpy_is_a_number():
    chosen = set()
    for one in (1, np.float16(1), np.float32(1), np.int64(1)):
        data = mixture([(named("a"), one), (named("b"), one)])
        chosen.add(tuple(data.examples.which(0, "train", 0, range(99))))
    assert len(chosen) == 1
    with pytest.raises(InputError, match="1e.300.*below 1e.300"):
        mixture([(named("a"), 1e300)])
    with pytest.raises(InputError, match="stands twice"):
        create_task("mixture", {"parts": [{"name": "dyck", "weight": {"5": 1, 5: 2}}]})


SCHEDULE = ({0: 1, 40_000: 0}, {0: 0, 20_000: 1, 40_000: .5}, .5)


def test_a_schedule_holds_in_every_stretch():
    data = mixed(SCHEDULE, count=50_000)
    items = np.arange(50_000)
    chosen = data.examples.which(0, "train", 0, items.tolist())
    wanted = shares_at(SCHEDULE, items.tolist())
    for part in range(3):
        off = np.cumsum(np.append(0, (chosen == part) - wanted[:, part]))
        share = wanted[:, part]
        spread_ = np.sqrt(np.cumsum(np.append(0, share * (1 - share))))
        width = WIDTH
        sigma = np.sqrt(spread_[width:] ** 2 - spread_[:-width] ** 2)
        stray = np.abs(off[width:] - off[:-width])
        assert (stray <= 3 * sigma + 1).all()


def test_an_item_of_a_schedule_is_a_function_of_its_address():
    data = mixed(SCHEDULE, count=5_000)
    for epoch in (0, 1, 6):
        data.set_epoch(epoch)
        places = [4_999, 0, 17, 2_500, 17]
        alone = [data.examples.which(0, "train", epoch, [i])[0] for i in places]
        assert data.examples.which(0, "train", epoch, places).tolist() == alone
        names = [row.meta["from"] for row in data.batch(places)]
        assert names == [f"part {i}" for i in alone]
    data.set_epoch(8)       # 40,000 items are read: the schedule is at its end
    late = data.examples.which(0, "train", 8, range(5_000))
    assert not (late == 0).any() and (late == 1).mean() == pytest.approx(.5, abs=.01)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_epochs_change_nothing(workers):
    task = create_task("mixture", sequence_count=64, parts=PARTS)
    bundle = task.build_datasets(seed=5)
    for epoch in (0, 2):
        bundle.train_dataset.set_epoch(epoch)
        loader = DataLoader(bundle.train_dataset, 8, num_workers=workers,
                            collate_fn=bundle.data_collator)
        read = [batch["input_ids"].tolist() for batch in loader]
        rows = [bundle.train_dataset[i] for i in range(64)]
        assert read == [bundle.data_collator(rows[i:i + 8])["input_ids"].tolist()
                        for i in range(0, 64, 8)]


PARTS = [{"name": "procedural", "config": {"preset": "smoke"}, "weight": {0: 1, 48: 0}},
         {"name": "repetition", "config": {"preset": "smoke"}, "weight": {0: 0, 48: 1}},
         {"name": "dyck", "config": {"preset": "smoke", "length": 32}, "weight": .5}]
MODEL = {"model_name_or_path": "gpt2",
         "config_overrides": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}}


def recipe_of(folder, **run):
    text = yaml.safe_dump({
        "task": {"name": "mixture", "config": {"parts": PARTS, "sequence_count": 24}},
        "model": MODEL,
        "run": {"output_dir": str(folder), "num_train_epochs": 2, "save_steps": 2,
                "logging_steps": 2, **run}})
    path = folder.with_suffix(".yaml")
    path.write_text(text)
    return load_recipe(path)


class Crash(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        if state.global_step == 5:
            raise RuntimeError("power cut")


def test_a_course_in_a_recipe_is_resumed_where_it_was(tmp_path):
    recipe = recipe_of(tmp_path / "a")
    (tmp_path / "again.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "again.yaml") == recipe
    whole = recipe.fit()
    with pytest.raises(RuntimeError, match="power cut"):
        recipe_of(tmp_path / "b").fit(callbacks=[Crash()])
    assert recipe_of(tmp_path / "b").fit().metrics == whole.metrics
    config = json.loads(json.dumps(whole.load_transfer_bundle().task_config))
    task = create_task("mixture", config)
    assert task.which(0, "train", 1, range(24)) == recipe.create_task().which(
        0, "train", 1, range(24))
    assert "procedural (smoke)" not in task.which(0, "train", 2, range(24))   # item 48 and on


def test_a_packed_mixture_with_a_control_trains(tmp_path):
    recipe = recipe_of(tmp_path / "a", packing=128)
    trainer = recipe.trainer(wrap=shuffled)
    assert isinstance(trainer, PrePreTrainer) and trainer.fit().metrics["steps"] == 6


@pytest.mark.parametrize("part, says", [
    ({"weight": {"soon": 1}}, "item of a schedule"), ({"weight": {0: "much"}}, "weight"),
    ({"weight": "half"}, "weight"), ({"weight": -1}, "weight"), ({"weight": {}}, "weight"),
    ({"weight": True}, "weight"), ({"wait": 1}, "weight"), ({"weight": {0: 0, 9: 0}}, "weight"),
    ({"weight": {1.5: 1}}, "item of a schedule"), ({"weight": float("nan")}, "weight"),
    ({"weight": [1, 2]}, "weight"), ({"weight": {0: float("inf")}}, "weight")])
def test_a_weight_that_means_nothing_is_refused_by_name(part, says):
    with pytest.raises(InputError, match=says) as refusal:
        create_task("mixture", parts=[{"name": "dyck", "config": {"preset": "smoke"}, **part}])
    assert "\n" not in str(refusal.value)
