"""Explorers and stamps without a browser: what is set is what is drawn, for every family."""
from __future__ import annotations

import json

import numpy as np
import pytest

from pptrain.core import create_task, register_family, registered_task, registered_tasks
from pptrain.core.registry import TASKS
from pptrain.views.controls import SLIDERS, reading
from pptrain.views.explorer import Explorer, explore, shown_fields
from pptrain.views.gallery import pixels
from pptrain.views.scenes import histograms_of, paper, scene_of

FAMILIES = [entry.name for entry in registered_tasks() if entry.presets]

each_family = pytest.mark.parametrize("family", FAMILIES)


def drawn_again(ex: Explorer):
    "The example that the explorer's line of Python makes."
    return eval(ex.code(), {"create_task": create_task})


def plain(value):
    "As JSON has it: a tuple is a list."
    return list(value) if isinstance(value, tuple) else value


def check(ex: Explorer, panel):
    "Code, settings, controls and drawing agree."
    assert drawn_again(ex).ids.tolist() == ex.example.ids.tolist() == ex.scene["tokens"]["ids"]
    for name in shown_fields(ex.task):
        widget, value = panel.controls[name], getattr(ex.task.config, name)
        assert plain(reading(widget)) == plain(value), name
    for name, value in ex.settings.items():
        assert plain(getattr(ex.task.config, name)) == plain(value), name


@each_family
def test_every_slider_reaches_its_ends(family):
    "Every value a slider offers is drawn, or refused for a field that has a control."
    ex = explore(family)
    ex.budget = 0
    panel = ex.widget()
    for name, (low, high, _) in ex.task.knobs().items():
        for value in (low, high):
            before = ex.version
            panel.controls[name].value = value
            assert ex.version > before or ex.trouble or getattr(ex.task.config, name) == value
            assert "max_length" not in ex.trouble or name == "max_length"
            assert "Error:" not in ex.trouble
            check(ex, panel)
        ex.change(preset="smoke")


@each_family
def test_it_shows_one_operation(family):
    ex = explore(family)
    names = ex.task.op_names()
    for name in (names[0], names[-1]):
        assert ex.change(only=name), ex.trouble
        assert name in ex.example.meta["op"].split("+")
    shown = ex.code()
    assert not ex.change(only="no such op") and ex.code() == shown and names[0] in ex.trouble


@each_family
def test_a_scene_travels_as_json_and_lies_on_paper(family):
    task = create_task(family, preset="smoke")
    for x in task.head(3):
        scene = scene_of(task, x)
        assert json.loads(json.dumps(scene))["note"] == scene["note"]
        assert sum(stop - start for _, start, stop in scene["parts"]) == len(x)
        assert paper(scene)
    if not task.costly():
        for bins in histograms_of(task, items=20):
            assert len(bins["labels"]) == len(bins["values"]) > 0


@pytest.fixture
def under_another_name():
    "Registers a subclass that changes nothing but its name; forgets it afterwards."
    made = []

    def register(family: str):
        task = create_task(family, preset="smoke")
        cls = type("Mine", (type(task),), {"name": f"my_{family}", "__doc__": "The same."})
        made.append(register_family(cls, registered_task(family).presets).name)
        return made[-1]
    yield register
    for name in made: del TASKS[name]


@each_family
def test_a_subclass_looks_like_its_parent(family, under_another_name):
    parent, child = explore(family), explore(under_another_name(family))
    assert child.example.ids.tolist() == parent.example.ids.tolist()
    for entry in ("brackets", "grid", "gauges", "steps"):
        assert child.scene.get(entry) == parent.scene.get(entry)
    assert list(child.widget().controls) == list(parent.widget().controls)
    assert child.widget().next.description == parent.widget().next.description
    for a, b in zip(pixels(child.task), pixels(parent.task)): assert np.array_equal(a, b)


@pytest.mark.parametrize("family, entry", [("dyck", "brackets"), ("nca", "grid")])
def test_who_has_more_than_tokens_shows_it(family, entry):
    assert entry in explore(family).scene


def test_sliders_follow_a_bound_that_nobody_sees():
    ex = explore("dyck")
    assert ex.change(length=190) and ex.settings == {"length": 190} and "max_length" in ex.code()
    assert ex.change(length=40) and "max_length" not in ex.code()
    assert not ex.change(max_length=20) and "max_length" in ex.trouble   # who names it means it
    assert explore("dyck", length=190).task.config.length == 190


def test_one_refusal_leaves_everything_as_it_was():
    ex = explore("dyck")
    panel = ex.widget()
    before = ex.code(), ex.version, dict(ex.settings)
    panel.controls["length"].value = 47
    assert "47" in ex.trouble and "alert" in panel.trouble.value
    assert (ex.code(), ex.version, dict(ex.settings)) == before
    assert panel.controls["length"].value == 64
    panel.controls["length"].value = 48
    assert not ex.trouble and not panel.trouble.value and len(ex.example) == 48


def test_a_menu_of_operations_follows_the_settings():
    ex = explore("procedural")
    panel = ex.widget()
    panel.controls["only"].value = "stack"
    panel.controls["tasks"].value = ("set", "union")      # no stack any more
    assert ex.choice.only == "" == panel.controls["only"].value and not ex.trouble
    assert [value for _, value in panel.controls["only"].options] == ["", "set", "union"]
    assert isinstance(panel.controls["length"], SLIDERS)
