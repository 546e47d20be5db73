"""A control that sleeps has no effect, and one that is awake has some, in every family."""
from __future__ import annotations

import pytest

from pptrain.core import create_task, registered_tasks
from pptrain.errors import InputError
from pptrain.views.explorer import explore, shown_fields

PRESETS = [("dyck", "smoke"), ("dyck", "hu_dyck"), ("dyck", "hu_ww"), ("dyck", "official_shuffle"),
           ("dyck", "ri_nesting_uniform"), ("procedural", "smoke"), ("lime", "smoke"),
           ("simpler_tasks", "smoke"), ("summarization", "smoke"), ("nca", "smoke")]
SMALLER = {"length": 32, "max_length": 2048, "bracket_types": 8}


def other_values(value):
    "Values unlike `value` that a control could take."
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value // 2 or 1, value + 1]
    if isinstance(value, float):
        return [value / 2, value / 2 + .1]
    return []


def rows(task):
    return [(x.ids.tolist(), x.mask.tolist()) for x in task.head(6)]


@pytest.mark.parametrize("family, preset", PRESETS)
def test_what_sleeps_changes_nothing(family, preset):
    task = create_task(family, preset=preset)
    small = {name: value for name, value in SMALLER.items()
             if family == "dyck" and getattr(task.config, name) > value}
    task = create_task(family, preset=preset, **small)
    before = rows(task)
    idle = task.idle()
    assert set(idle) <= set(vars(task.config)) and all(idle.values())
    for name in idle:
        for value in other_values(getattr(task.config, name)):
            given = {"preset": preset, **small, name: value}
            try: changed = rows(create_task(family, given))
            except InputError: continue
            assert changed == before, (name, value)


def test_what_a_language_uses_is_awake():
    task = create_task("dyck", preset="smoke", language="shuffle", max_depth=3)
    assert "max_depth" not in task.idle()
    assert rows(task) != rows(create_task("dyck", preset="smoke", language="shuffle", max_depth=9))


@pytest.mark.parametrize("family", [entry.name for entry in registered_tasks() if entry.presets])
def test_controls_sleep_and_say_why(family):
    panel = explore(family).widget()
    idle = panel.ex.task.idle()
    for name in shown_fields(panel.ex.task):
        assert panel.controls[name].disabled == (name in idle), name
        assert idle.get(name, "") in (panel.controls[name].tooltip or "")


@pytest.mark.parametrize("family, asked", [
    ("nca", {"patch_size": 4}), ("nca", {"patch_size": 1}), ("nca", {"num_states": 2}),
    ("nca", {"grid_size": 16}), ("simpler_tasks", {"min_symbols": 60}), ("lime", {"upper": 24}),
    ("summarization", {"words": 5}), ("summarization", {"tasks": ["CopyQuoted"]})])
def test_settings_that_hang_together_move_together(family, asked):
    ex = explore(family)
    assert ex.change(**asked), ex.trouble
    for name, value in asked.items():
        now = getattr(ex.task.config, name)
        assert (list(now) if isinstance(now, tuple) else now) == value
    assert eval(ex.code(), {"create_task": create_task}).text == ex.example.text


def test_a_search_gives_up_soon_and_says_how_to_go_on():
    ex = explore("nca", grid_size=16, num_states=15, temperature=.08, complexity_min=.4)
    before = ex.code()
    assert not ex.change(complexity_min=.695)     # one rule in a hundred
    assert "50 attempts" in ex.trouble and "max_rule_attempts_per_sequence" in ex.trouble
    assert "complexity_min=0.4 stays" in ex.trouble and ex.code() == before


def test_the_message_stays_until_a_change_is_accepted():
    panel = explore("dyck").widget()
    panel.controls["length"].value = 47
    told = panel.trouble.value
    for name in ("length", "seed", "open_probability"):     # a browser sends back what it shows
        panel.turn(name)
    assert panel.trouble.value == told != "" and "length=47" in told and "length=64 stays" in told
    panel.controls["seed"].value = 1
    assert panel.trouble.value == ""
