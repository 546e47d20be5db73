"""Vector files come in other cuts than ours: some sections, other key order, no meta."""
from __future__ import annotations

import copy
import json

import pytest
from conftest import ROOT

from pptrain.core import InputError, registered_task
from pptrain.parity import load_vectors

VECTORS = ROOT / "tests" / "vectors"
PLACES = {"simpler_tasks": "tasks", "lime": "modes", "summarization": None}   # of the sections


def stored(family: str) -> dict:
    return copy.deepcopy(load_vectors(VECTORS / family / "dev.json"))


def sections(vectors: dict, family: str) -> dict:
    place = PLACES[family]
    return vectors if place is None else vectors[place]


def ok(family: str, vectors: dict) -> bool:
    tally = registered_task(family).replay(vectors)
    if not tally.ok:
        print(tally.table())
    return tally.ok


@pytest.mark.parametrize("family", PLACES)
def test_other_cuts_of_a_file_pass(family):
    vectors = stored(family)
    assert ok(family, json.loads(json.dumps(vectors, sort_keys=True))), "keys in another order"
    assert ok(family, {k: v for k, v in vectors.items() if k != "meta"}), "no meta"
    some = [k for k in sections(vectors, family) if k != "meta"][1:3]
    part = stored(family)
    for name in list(sections(part, family)):
        if name not in (*some, "meta"):
            del sections(part, family)[name]
    assert ok(family, part), "some sections only"


@pytest.mark.parametrize("family", PLACES)
def test_an_emptied_section_fails(family):
    vectors = stored(family)
    name = [k for k in sections(vectors, family) if k != "meta"][0]
    sections(vectors, family)[name] = []
    assert not registered_task(family).replay(vectors).ok


def test_lime_without_its_search_facts_and_seeds():
    vectors = stored("lime")
    for rows in vectors["modes"].values():
        for row in rows:
            row.pop("extra", None)
    vectors["meta"]["seed_rule"] = "random.seed(B+i); t5: random.seed(B+500+i)"
    assert ok("lime", vectors)


def test_a_truncated_archive_is_refused_by_name(tmp_path):
    whole = (VECTORS / "nca" / "dev.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:3000])
    with pytest.raises(InputError, match="cut.npz"):
        load_vectors(tmp_path / "cut.npz")
