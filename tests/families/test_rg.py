"""Data sets of reasoning-gym as families: refused in a line without it, addressed with it."""
from __future__ import annotations

import importlib.util
import sys
from random import Random
from types import ModuleType, SimpleNamespace

import pytest

from pptrain import create_task, load_recipe, registered_tasks
from pptrain.cli import main
from pptrain.errors import InputError

REAL = importlib.util.find_spec("reasoning_gym") is not None


class Options:
    def __init__(self, seed=0, size=1, most=99):
        pass


@pytest.fixture
def sums(monkeypatch):
    "A stand-in for the library, with one data set."
    library = ModuleType("reasoning_gym")

    def create_dataset(name, seed=0, size=1, most=99):
        rng = Random(seed)
        a, b = rng.randint(0, most), rng.randint(0, most)
        return [{"question": f"{a} + {b} = ?", "answer": str(a + b), "metadata": {}}]

    library.create_dataset = create_dataset
    library.factory = SimpleNamespace(DATASETS={"sums": (list, Options)})
    monkeypatch.setitem(sys.modules, "reasoning_gym", library)


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)


def test_without_the_library_it_is_a_line(absent):
    with pytest.raises(InputError, match="pip install reasoning-gym") as refusal:
        create_task("rg:chain_sum")
    assert "\n" not in str(refusal.value)
    assert "rg" not in {card.name for card in registered_tasks()}


@pytest.mark.parametrize("command", ["show", "generate"])
def test_the_command_line_says_it_in_a_line(absent, command, tmp_path, capsys):
    more = ["-n", "3", "--out", str(tmp_path / "x")] if command == "generate" else []
    assert main([command, "rg:chain_sum", *more]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "reasoning-gym" in said
    assert not (tmp_path / "x").exists()


def test_items_are_addresses(sums):
    task = create_task("rg:sums", preset="smoke")
    data = task.build_datasets(seed=5)
    rows = [x.text for x in data.train_dataset.batch(range(30))]
    assert rows == [data.train_dataset.example(i).text for i in range(29, -1, -1)][::-1]
    assert len(set(rows)) == 30
    other = create_task("rg:sums", preset="smoke").build_datasets(seed=6).train_dataset
    assert not set(rows[1:]) & {x.text for x in other.batch(range(29))} - {rows[0]}
    example = data.eval_dataset.example(3)
    assert bytes(example.target.tolist()).decode() == example.meta["answer"]
    assert example.mask.sum() == len(example.meta["answer"]) + 1


def test_a_recipe_and_a_mixture_take_it(sums, tmp_path):
    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 256}
    for number, task in enumerate((
            {"name": "rg:sums", "config": {"preset": "smoke", "options": {"most": 9}}},
            {"name": "mixture", "config": {"parts": [
                {"name": "rg:sums", "config": {"preset": "smoke"}},
                {"name": "repetition", "config": {"preset": "smoke"}}]}})):
        recipe = load_recipe({
            "task": task, "model": {"model_name_or_path": "gpt2", "config_overrides": shape},
            "run": {"output_dir": str(tmp_path / str(number)), "max_steps": 2}})
        run = recipe.fit()
        bundle = run.load_transfer_bundle()
        assert create_task(bundle.task_name, bundle.task_config).sample(2).text == (
            recipe.create_task().sample(2).text)


def test_it_is_explored(sums):
    from pptrain.widgets import explore
    explorer = explore("rg:sums", preset="smoke")
    assert explorer.change(seed=3), explorer.trouble
    assert "rg:sums" in explorer.code()
    assert eval(explorer.code(), {"create_task": create_task}).text == explorer.example.text


@pytest.mark.skipif(not REAL, reason="reasoning-gym is not installed")
@pytest.mark.parametrize("name", ["leg_counting", "chain_sum", "gsm_symbolic", "list_functions",
                                  "pool_matrix", "letter_jumble"])
def test_real_data_sets(name):
    task = create_task(f"rg:{name}", max_length=2048)
    rows = [x.text for x in task.head(12)]
    assert rows == [task.sample(i).text for i in range(12)] and len(set(rows)) == 12


@pytest.mark.skipif(not REAL, reason="reasoning-gym is not installed")
@pytest.mark.parametrize("name", ["composite", "rush_hour", "leg_countin", "word_ladder"])
def test_real_refusals(name):
    with pytest.raises(InputError):
        create_task(f"rg:{name}", max_length=2048)
