"""Ten thousand slips: settings, recipes, vectors and manifests, each changed in a place or two.

Whatever comes in, it works, or one sentence says what is wrong: no traceback, nothing half-written.
Hypothesis draws the slips, the same ones in every run."""
from __future__ import annotations

import copy
import csv
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pptrain.cli import main
from pptrain.config import field_defaults
from pptrain.core import InputError, create_task, registered_task, registered_tasks
from pptrain.parity import load_vectors
from pptrain.runs import load_recipe
from pptrain.runs.outcome import compared
from pptrain.study import COLUMNS, Claim, StudyConfig, save_results, write_report
from pptrain.study.gathering import GridResults
from pptrain.study.grid import Manifest, RunSpec, finished, run_folder
from pptrain.study.report import Report, report_figures, report_heads, report_tables

pytestmark = pytest.mark.slow
FAMILIES = [card.name for card in registered_tasks()]
DEAR = {"nca": 8}   # so many times fewer slips, for what costs so many times more

# slips

ODD_TEXTS = ["", " ", "no", "on", "1e6", "0x10", "-1", "nan", "ä\u0301", "\u202etxt", "\ud800",
             "a\nb", "🜁", "\0", "~", "../x", "{x}", "%s", "x" * 5000]
NUMBERS = st.one_of(
    st.integers(-3, 40), st.sampled_from([2**31, 2**63, 2**64, -(2**63) - 1, 10**30]),
    st.just(5000).map(lambda digits: 10**digits),   # more than Python spells
    st.floats(allow_nan=True, allow_infinity=True), st.floats(0, 2))
TEXTS = st.one_of(st.sampled_from(ODD_TEXTS), st.text(max_size=6))
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
NESTED = lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=2))
VALUES = st.recursive(LEAVES, NESTED, max_leaves=5)


def nearby(value):
    "Values like `value`: a number off by some, a text with a letter more, half a list."
    if isinstance(value, bool):
        return [not value, int(value), str(value)]
    if isinstance(value, int) and abs(value) > 2**70:
        return [0]
    if isinstance(value, (int, float)):
        numbers = [value + 1, value - 1, -value, value * 2, value * 1000, value // 3]
        return [*numbers, str(value), [value]]
    if isinstance(value, str):
        return [value + "x", value[1:], value.upper(), value[::-1], [value], {value: value}]
    if isinstance(value, list):
        return [value[::-1], value * 2, value[:1], [], value + [None], {"0": value}]
    if isinstance(value, dict):
        return [list(value.items()), {}, {f"{name} ": item for name, item in value.items()}]
    return [0, "", [], {}]


@st.composite
def slip(draw, content, values=VALUES):
    "A copy of `content` in which one to three places have changed, or are gone."
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        here, place = content, None
        while isinstance(here, (dict, list)) and here:
            if place is not None and not draw(st.integers(0, 4)):
                break
            keys = list(here) if isinstance(here, dict) else range(len(here))
            place = here, draw(st.sampled_from(keys))
            here = place[0][place[1]]
        if place is None:
            return draw(values)
        parent, key = place
        how = draw(st.sampled_from(["near", "near", "far", "gone", "again"]))
        if how == "gone":
            del parent[key]
        elif how == "again" and isinstance(parent, dict):
            parent[draw(st.text(max_size=5))] = here
        else:
            parent[key] = draw(values if how == "far" else st.sampled_from(nearby(here)))
    return content


def slips(count):
    "How many slips a test sees, and that they are the same ones every time."
    return settings(max_examples=count, derandomize=True, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck), phases=[Phase.generate])


def one_sentence(error):
    "That a refusal can stand on one line behind `error:`."
    assert str(error).strip() and "\n" not in str(error), repr(str(error))


def command(*words):
    "Exit status and both outputs of a command line; a fault of ours has another line and status."
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([str(word) for word in words])
    said = [line for line in err.getvalue().splitlines() if line.startswith("error:")]
    assert "Traceback" not in err.getvalue() and "a fault of pptrain" not in err.getvalue(), said
    if status == 2:
        assert len(said) == 1 and err.getvalue().splitlines()[-1] == said[0], err.getvalue()
    else:
        assert not said, said
    return status, out.getvalue(), err.getvalue()


# settings

def settings_of(family):
    "Slips in the settings of a family: presets and fields, plausible and not."
    card = registered_task(family)
    fields = field_defaults(card.config_class)
    usual = [fields | preset.config for preset in card.presets]
    names = st.sampled_from([*fields, "preset", "max_lenght", "", "tasks"])
    presets = st.sampled_from([preset.name for preset in card.presets])

    @st.composite
    def drawn(draw):
        given = {"preset": draw(presets)} if draw(st.integers(0, 4)) else {}
        values = draw(st.sampled_from(usual))
        for name in draw(st.lists(names, min_size=1, max_size=4)):
            near = [other[name] for other in usual[:9] if name in other]
            near += nearby(values[name]) if name in values else []
            given[name] = draw(st.one_of(st.sampled_from(near), VALUES) if near else VALUES)
        return given
    return drawn()


@pytest.mark.parametrize("family", FAMILIES)
def test_settings_that_are_accepted_serve_items(family):
    served = []

    @slips(700 // DEAR.get(family, 1))
    @given(settings_of(family), st.integers(0, 2**62), st.sampled_from(["train", "eval"]))
    def check(given, seed, split):
        try:
            task = create_task(family, given)
        except InputError as error:
            return one_sentence(error)
        size = task.tokenizer_spec().vocab_size
        for example in task.examples(seed, split, 0, [0, seed % 1000, 146]):
            assert 0 < len(example) <= task.config.max_length and example.mask.any()
            assert 0 <= example.ids.min() <= example.ids.max() < size
            assert set(example.meta.get("op", family).split("+")) <= set(task.op_names())
        served.append(given)
    check()
    assert len(served) > 10


# vector files

def small_vectors(family):
    "The records of a family's compact vectors, one or two of each section."
    suffix = "npz" if family == "nca" else "json"
    vectors = load_vectors(ROOT / "tests" / "vectors" / family / f"dev.{suffix}")
    if family == "nca":
        return {name: array for name, array in vectors.items() if not name.startswith("g_")}

    def cut(part, depth=0):
        if isinstance(part, dict):
            return {name: cut(item, depth + 1) for name, item in part.items() if name != "stats"}
        return part[:1] if isinstance(part, list) and depth < 4 and isinstance(part[:1], list) and \
            part and isinstance(part[0], dict) else part
    return cut(vectors)


WITH_RECORDS = [family for family in FAMILIES
                if (ROOT / "tests" / "vectors" / family / "dev.json").exists()]


@pytest.mark.parametrize("family", WITH_RECORDS)
def test_vector_files_get_a_table_or_a_sentence(family, tmp_path):
    vectors = small_vectors(family)
    path = tmp_path / "slip.json"
    seen = set()

    @slips(100)
    @given(slip(vectors), st.integers(0, 12))
    def check(content, cut):
        try:
            text = json.dumps(content)
        except ValueError:   # more digits than Python spells
            text = "[" * 10**5
        path.write_text(text if cut else text[:len(text) // 2], encoding="utf-8")
        status, out, _ = command("parity", family, path)
        assert status in (0, 1, 2) and (status == 2 or out.startswith("section"))
        seen.add(status)
    check()
    assert seen == {0, 1, 2} or seen == {1, 2}


@st.composite
def array_slip(draw, arrays):
    "Arrays of which some are gone, of another type or shape, or hold other numbers."
    arrays = dict(arrays)
    for _ in range(draw(st.integers(1, 3))):
        if not arrays:      # all are gone
            break
        name = draw(st.sampled_from(list(arrays)))
        array = arrays.pop(name)
        others = [None, np.array(draw(st.integers(-9, 9))), array.astype(str)]
        if array.ndim:
            others += [array[:0], array[:1], array[::-1], array.ravel(), array[..., :1]]
        if array.dtype.kind in "fiu":
            others += [array * 0, array.astype(float) * np.nan]
        other = others[draw(st.integers(0, len(others) - 1))]
        if other is not None:
            arrays[name] = other
    return arrays


def test_vector_arrays_get_a_table_or_a_sentence(tmp_path):
    vectors = small_vectors("nca")
    groups = [{name: array for name, array in vectors.items() if name.startswith(prefix)}
              for prefix in ("a_", "abias", "c_", "e1_", "e2", "f_", "f2", "meta")]
    groups = [group for group in groups if group]
    path = tmp_path / "slip.npz"

    @slips(400)
    @given(st.sampled_from(range(len(groups))).flatmap(lambda k: array_slip(groups[k])),
           st.integers(0, 9))
    def check(arrays, cut):
        np.savez(path, **arrays)
        if not cut:
            path.write_bytes(path.read_bytes()[:-100])
        status, out, _ = command("parity", "nca", path)
        assert status in (0, 1, 2) and (status == 2 or out.startswith("section"))
    check()


# recipes

RECIPES = [yaml.safe_load(path.read_text()) for path in sorted(ROOT.glob("configs/*_minimal.yaml"))]
YAML_VALUES = st.one_of(VALUES, st.dates(), st.sampled_from([date(1, 1, 1), b"bytes"]))
TWISTS = ["again", "gone", "inward", "anchor", "tag", "tab", "odd", "digits"]


def twisted(lines, at, how):
    "The lines of a YAML text, one of them changed so that the text may be another or none."
    line = lines[at]
    others = {
        "again": [line, line], "gone": [], "inward": ["    " + line], "tab": ["\t" + line],
        "anchor": [line + " &a", "more: *a"], "odd": [line.replace("e", "\u200b", 1)],
        "tag": [line.replace(": ", ": !!python/name:os ", 1)],
        "digits": [line.partition(":")[0] + ": " + "9" * 5000],
    }
    return lines[:at] + others[how] + lines[at + 1:]


@st.composite
def recipe_text(draw):
    "The YAML of a recipe with slips in its values, and sometimes in its writing."
    content = draw(slip(draw(st.sampled_from(RECIPES)), YAML_VALUES))
    try:
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    except (ValueError, yaml.YAMLError):
        text = f"task: {'9' * 5000}"
    lines = text.splitlines() or [""]
    if not draw(st.integers(0, 2)):
        lines = twisted(lines, draw(st.integers(0, len(lines) - 1)), draw(st.sampled_from(TWISTS)))
    return "\n".join(lines)


def test_recipes_are_read_or_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipe.yaml"
    count = dict.fromkeys(("accepted", "refused"), 0)

    @slips(2000)
    @given(recipe_text())
    def check(text):
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            load_recipe(path).trainer()
            count["accepted"] += 1
        except InputError as error:
            one_sentence(error)
            count["refused"] += 1
            if count["refused"] % 10 == 0:
                assert command("fit", path)[0] == 2
        assert list(tmp_path.iterdir()) == [path], "something was written"
    check()
    assert min(count.values()) > 20


def test_settings_on_the_command_line_are_refused_in_a_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPES[0]))
    places = ["task.config.length", "run.max_steps", "run.seed", "model.config_overrides", "run",
              "task.name", "run.learning_rate", "policy", "text.corpus", "measures", "", "run.lr",
              "a.b"]
    yamls = ["[", "{a: 1", "*a", "&a 1", "!!int x", "0o7", "2026-11-26", "- 1"]
    words = st.one_of(TEXTS, st.sampled_from(yamls))

    @slips(500)
    @given(st.sampled_from(places), words, st.sampled_from(["=", "=", "=", ""]))
    def check(place, word, equals):
        pair = f"{place}{equals}{word}"
        try:
            load_recipe(path, [pair])
        except InputError as error:
            one_sentence(error)
            assert command("fit", path, "--set", pair)[0] == 2
        assert list(tmp_path.iterdir()) == [path], "something was written"
    check()


# manifests

@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    import torch

    from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
    from pptrain.transfer import TransferBundle
    from pptrain.vocab import TokenizerSpec
    torch.manual_seed(0)
    adapter = HFCausalLMAdapter(HFModelConfig("gpt2-1_2_8", config_overrides={"n_positions": 16}))
    spec = TokenizerSpec(9, pad_token_id=0)
    return TransferBundle.save(
        adapter.create_prepretrain_model(spec), tmp_path_factory.mktemp("bundle"), task_name="t",
        task_config={"a": 1}, tokenizer_spec=spec, training={"steps": 3}, fingerprint="f")


def test_bundles_are_read_or_refused_in_a_sentence(bundle):
    from pptrain.transfer import MANIFEST, TransferBundle
    from pptrain.transfer.bundle import sealed
    place = Path(bundle.path) / MANIFEST
    original = place.read_bytes()
    whole = json.loads(original)
    bare = {name: value for name, value in whole.items() if name != "manifest_sha256"}

    @slips(1200)
    @given(st.one_of(slip(whole), slip(bare)), st.booleans(), st.integers(0, 12))
    def check(content, seal, cut):
        try:
            plain = isinstance(content, dict) and "manifest_sha256" not in content
            written = sealed(content) if seal and plain else json.dumps(content).encode()
        except ValueError:
            written = b"9" * 5000
        place.write_bytes(written if cut else written[:-20])
        try:
            read = TransferBundle.load(bundle.path)
            read.state_dict()
            read.policy.to_dict()
        except InputError as error:
            one_sentence(error)
    try:
        check()
    finally:
        place.write_bytes(original)


# what runs and grids leave

def left(path, content, cut):
    "Writes lines of a table, or values as JSON, to `path`; not to the end where `cut` is 0."
    try:
        if path.suffix == ".csv" and isinstance(content, list):
            lines = [line if isinstance(line, list) else [line] for line in content]
            table = io.StringIO()
            csv.writer(table, lineterminator="\n").writerows(lines)
            text = table.getvalue()
        else:
            text = json.dumps(content)
    except ValueError:   # more digits than Python spells
        text = "9" * 5000
    written = text.encode("utf-8", "surrogatepass")
    path.write_bytes(written if cut else written[:-len(written) // 3])


def reads_or_refuses(path, content, count, *readers):
    "Slips in `content` at `path`: each of `readers` returns, or refuses in a sentence."
    told = dict.fromkeys(("read", "refused"), 0)
    untouched = path.read_bytes()
    names = sorted(path.parent.rglob("*"))

    @slips(count)
    @given(slip(content), st.integers(0, 12))
    def check(content, cut):
        left(path, content, cut)
        for reader in readers:
            try:
                reader()
                told["read"] += 1
            except InputError as error:
                one_sentence(error)
                told["refused"] += 1
        assert sorted(path.parent.rglob("*")) == names, "something was written"
    try:
        check()
    finally:
        path.write_bytes(untouched)
    return told


def study_rows(study):
    "Two variants over three seeds, at three points of a curve."
    rows = []
    for seed in (1, 2, 3):
        for variant, gain in (("scratch", 0), ("transferred", .3)):
            for step in range(3):
                place = (study, variant, seed, step, 100 * step)
                rows.append((*place, "eval_loss", 4 - step * (1 + gain + seed / 50) / 2))
            rows.append((study, variant, seed, 0, 0, "warmup_tokens", 100.))
            rows.append((study, variant, seed, 0, 0, "warmup_eval_loss", 2.))
    return pd.DataFrame(rows, columns=COLUMNS)


FACTS = {     # as a study leaves them
    "arms": {"scratch": "no warm-up", "transferred": "warmed up; crosses: copy"}, "seeds": [1, 2],
    "version": "1.0.0", "date": "2026-11-27T06:55", "machine": "Linux", "torch": "2.13.0",
    "corpus": "docs", "corpus_sha256": "f8169d5ae432e394", "vocabulary": 1024, "epochs": .96,
    "parameters": {"text": {"all": 231744, "without_embeddings": 100672}}, "tuned": True,
    "tuning_seed": 1000, "rates": {"scratch": {"warm_up": 3e-3, "text": 3e-3}},
    "guessing": {"loss": 4., "accuracy": .1}, "warmed_on": {"transferred": "task"},
    "guessing_of": {"transferred": {"loss": 4., "accuracy": .1}}}

LIKENESS = [     # what a look inside finds
    ("midlayer_cka", "scratch", "transferred", "all", .5),
    ("js", "scratch", "transferred", "all", .1),
    ("crossed", "transferred", "", "all", .4), ("cka_map", "scratch", "transferred", "0 / 0", .3),
    ("cka_map", "scratch", "transferred", "0 / 1", .2)]

SPEC = RunSpec("one", str(ROOT / "nbs" / "00_errors.ipynb"))


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    "A grid of two studies: `SPEC` is done, the other failed."
    folder = tmp_path_factory.mktemp("grid")
    event = {"target": 3.5, "metric": "eval_loss", "rises": False, "clock": "tokens"}
    claims = [Claim("it helps", "a lot", "loss_gain", "transferred", main=True),
              Claim("it is sooner", "10 %", "time_to_event", "transferred", event=event),
              Claim("ours", "", "mrs", "transferred", kind="comparison", smallest_effect=.1)]
    run = run_folder(SPEC, folder)
    run.mkdir(parents=True)
    save_results(run, study_rows("one"), claims)
    settings = StudyConfig("one", "dyck", "smoke", overrides={"length": 12})
    (run / "study.json").write_text(json.dumps(asdict(settings)))
    (run / "facts.json").write_text(json.dumps(FACTS))
    columns = ["metric", "model_a", "model_b", "component", "value"]
    likeness = pd.DataFrame(LIKENESS, columns=columns)
    likeness.to_csv(run / "inside.csv", index=False)
    (run / "transfers").mkdir()
    crossed = [dict(component="mlp", what=what, tensors=2, numbers=64)
               for what in ("copied", "fresh")]
    told = {"arm": "transferred", "policy": "copy", "rows": crossed}
    (run / "transfers" / "scratch-1.json").write_text(json.dumps(told))
    done = {"id": SPEC.id, "study": "one", "spec_hash": SPEC.hash, "notebook": "notebooks/x.ipynb",
            "parameters": {"seeds": [1, 2, 3]}, "status": "done", "seconds": 2.5, "error": None}
    failed = done | {"id": "two-0", "study": "two", "status": "failed", "error": "it broke"}
    manifest = {"profile": "demo", "runs": [done, failed]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def whole_report(folder):
    "Everything that a report says, in memory; each note is a line."
    results = GridResults.read(folder)
    assert not any("\n" in note or not note.strip() for note in results.notes), results.notes
    tables, figures = report_tables(results), report_figures(results)
    report = Report("a title", results.headline, tables, figures, results.notes)
    assert report.to_markdown() and report.to_html()


GRID_FILES = {"manifest.json": 120, "claims.json": 120, "study.json": 60, "rows.csv": 120}
HEAD_FILES = {"facts.json": 120, "inside.csv": 60, "scratch-1.json": 40, "study.json": 60}


def cells(path):
    "What is in a file: values, or the lines of a table cell by cell."
    if path.suffix == ".json":
        return json.loads(path.read_text())
    with open(path, newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("name", GRID_FILES)
def test_grids_are_reported_or_refused_in_a_sentence(grid, name):
    path = next(grid.rglob(name))
    told = reads_or_refuses(path, cells(path), GRID_FILES[name], lambda: whole_report(grid))
    assert told["read"] > 20 and bool(told["refused"]) == (name == "manifest.json"), told


@pytest.mark.parametrize("name", HEAD_FILES)
def test_heads_of_a_report_say_what_can_be_read(grid, name):
    "One damaged file costs a line, never the report."
    path, whole = next(grid.rglob(name)), GridResults.read(grid)

    def heads():
        settings = GridResults.read(grid).settings if name == "study.json" else whole.settings
        for head in report_heads(replace(whole, settings=settings)):
            assert head.to_markdown() and head.to_html() and len(head.lines) >= 8
    told = reads_or_refuses(path, cells(path), HEAD_FILES[name], heads)
    assert told["read"] > 30 and not told["refused"], told


@pytest.mark.parametrize("name", ["claims.csv", "comparisons.csv", "results.csv"])
def test_kept_tables_are_reported_or_refused_in_a_sentence(grid, name, tmp_path):
    write_report(grid)
    for file in ("manifest.json", "claims.csv", "comparisons.csv", "results.csv"):
        (tmp_path / file).write_bytes((grid / file).read_bytes())
    path = tmp_path / name
    told = reads_or_refuses(path, cells(path), 40, lambda: whole_report(tmp_path))
    assert min(told.values()) > 3, told


def test_manifests_are_taken_up_or_refused_in_a_sentence(grid):
    def take_up():
        manifest = Manifest(grid, profile="demo")
        json.dumps([finished(SPEC, grid, manifest), manifest.facts, list(manifest.runs.values())])
    path = grid / "manifest.json"
    told = reads_or_refuses(path, cells(path), 200, take_up)
    assert min(told.values()) > 20, told


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "The directory of a finished run of two steps."
    from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
    from pptrain.runs import PrePreTrainer, RunConfig
    config = RunConfig(output_dir=str(tmp_path_factory.mktemp("run")), max_steps=2, use_cpu=True,
                       logging_steps=1, disable_tqdm=True, per_device_train_batch_size=2)
    adapter = HFCausalLMAdapter(HFModelConfig("gpt2-1_2_8"))
    return PrePreTrainer(create_task("dyck", preset="smoke"), adapter, config).fit().run_dir


def run_readers(folder):
    "What a second `fit` asks a run directory, and what its view shows."
    from pptrain.runs.folder import check_claim
    from pptrain.runs.trainer import saved_run
    from pptrain.views.monitor import RunView
    spec = json.loads((folder / "run.json").read_text())["spec"]
    return (lambda: check_claim(folder, spec), lambda: saved_run(folder),
            lambda: RunView(folder).parts())


@pytest.mark.parametrize("name", ["run.json", "summary.json", "history.csv"])
def test_runs_are_taken_up_and_shown_or_refused_in_a_sentence(run, name):
    told = reads_or_refuses(run / name, cells(run / name), 80, *run_readers(run))
    assert min(told.values()) > 20, told


def test_comparisons_are_said_or_refused_in_a_sentence(tmp_path):
    losses = {"before": {"loss": 5.5, "tokens": 3}, "metrics": {"loss": 2.25, "tokens": 3}}
    arm = {"perplexity": losses, "curve": [{"step": 0, "metric": "eval_loss", "value": 5.5}]}
    path = tmp_path / "comparison.json"
    content = {"baseline": arm, "transferred": copy.deepcopy(arm), "warning": "nothing crossed"}
    path.write_text(json.dumps(content))
    told = reads_or_refuses(path, content, 150, lambda: compared(path).encode())
    assert min(told.values()) > 20, told
