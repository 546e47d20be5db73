"""Controls of real families: as many tokens as the original has, and loss on the very same ones."""
from __future__ import annotations

import pickle

import numpy as np
import pytest
from torch.utils.data import DataLoader

from pptrain import create_task, registered_tasks
from pptrain.data import Example, TaskDataset, create_control, mixture
from pptrain.errors import InputError

FAMILIES = [card.name for card in registered_tasks()
            if (card.config_class or type).__module__.startswith("pptrain.tasks.")]
CONTROLS = ("shuffled", "random_tokens", "unigram_noise", "ngram_null", "frozen")


def rows_of(family):
    return create_task(family, preset="smoke").build_datasets(seed=3).train_dataset


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("control", CONTROLS)
def test_lengths_attention_and_loss_stay(family, control):
    rows = rows_of(family)
    view = create_control(control)(rows)
    assert len(view) == len(rows)
    for i in range(24):
        before, after = rows[i], view[i]
        for name in ("input_ids", "labels", "attention_mask"):
            assert before[name].shape == after[name].shape
        assert (before["attention_mask"] == after["attention_mask"]).all()
        assert ((before["labels"] == -100) == (after["labels"] == -100)).all()
        carried = after["labels"] != -100
        assert (after["labels"][carried] == after["input_ids"][carried]).all()


@pytest.mark.parametrize("control", CONTROLS)
def test_an_item_is_a_function_of_its_address(control):
    view = create_control(control)(rows_of("procedural"))
    whole = [row.text for row in view.batch(range(20))]
    assert whole == [view.example(i).text for i in range(19, -1, -1)][::-1]
    again = create_control(control)(rows_of("procedural"))
    assert whole == [row.text for row in pickle.loads(pickle.dumps(again)).batch(range(20))]


def test_frozen_rows_come_again_in_every_epoch():
    rows = rows_of("dyck")
    view = create_control("frozen", rows=4)(rows)
    first = [row.text for row in view.batch(range(4))]
    view.set_epoch(2)
    assert [row.text for row in view.batch(range(4, 12))] == first * 2


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mixture_is_the_same_for_any_worker_count(workers):
    data = mixture([(create_task("procedural", preset="smoke"), 1), (rows_of("dyck"), 2)], seed=7)
    loader = DataLoader(data, batch_size=None, num_workers=workers)
    read = [row["input_ids"].tolist() for _, row in zip(range(30), loader)]
    assert read == [row.ids.tolist() for row in data.batch(range(30))]


def test_the_weights_of_a_mixture_hold_in_law():
    data = mixture([(rows_of("procedural"), .2), (rows_of("dyck"), .8)], seed=1, count=4000)
    which = data.examples.which(1, "train", 0, range(4000))
    assert abs(np.mean(which) - .8) < 4 * np.sqrt(.16 / 4000)


def test_a_part_that_is_no_dataset_is_refused():
    with pytest.raises(InputError, match="mixture"):
        mixture([([1, 2], 1.0)])


def shares(rows):
    ids = np.concatenate([row.ids for row in rows])
    return np.bincount(ids, minlength=256) / len(ids)


@pytest.mark.parametrize("control", ["unigram_noise", "ngram_null"])
@pytest.mark.parametrize("as_a_family", [False, True])
def test_a_control_of_a_curriculum_matches_all_of_it(control, as_a_family):
    weights = {0: 1, 2000: 0}, {0: 0, 2000: 1}
    if as_a_family:
        parts = [{"name": name, "config": {"preset": "smoke"}, "weight": weight}
                 for name, weight in zip(("dyck", "lime"), weights)]
        task = create_task("mixture", {"parts": parts, "sequence_count": 2000})
        data = task.build_datasets(3).train_dataset
    else:
        data = mixture([*zip(map(rows_of, ("dyck", "lime")), weights)], seed=3, count=2000)
    items = range(0, 2000, 3)
    original, drawn = data.batch(items), create_control(control)(data).batch(items)
    apart = abs(shares(original) - shares(drawn)).sum() / 2
    assert apart < (.06 if control == "unigram_noise" else .25), apart


@pytest.mark.parametrize("control", CONTROLS)
def test_rows_without_tokens_stay_so(control):
    def empty(seed, split, epoch, indices):
        return [Example([7, 7], [0, 0], {}, None, np.zeros(2)) for _ in indices]
    row = create_control(control)(TaskDataset(empty, 9)).example(3)
    assert row.ids.tolist() == [7, 7] and not row.mask.any()
