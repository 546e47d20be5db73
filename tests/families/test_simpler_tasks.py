"""simpler_tasks: poison is named, shares are kept, presets hold everything, steps are told."""
from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections import Counter

import pytest
from conftest import ROOT

from pptrain.core import InputError, create_task, registered_presets, registered_task
from pptrain.parity import find_vectors, load_vectors
from pptrain.tasks.simpler_tasks import ALIASES, SimplerTasks, SimplerTasksConfig, ops, replay
from pptrain.tasks.simpler_tasks.replay import replay_simpler_tasks
from pptrain.tasks.simpler_tasks.survey import Survey
from pptrain.tasks.simpler_tasks.t5_ids import NAMES, NUMBERS, number_ids

HERE = ROOT / "tests" / "vectors" / "simpler_tasks"
LINES, MBPP, STATS = (load_vectors(HERE / f"{name}.json") for name in ("dev", "mbpp_dev", "stats"))
PRESETS = {p.name: p for p in registered_presets("simpler_tasks")}


def failures(vectors: dict, change=lambda v: None) -> list[tuple[str, str]]:
    "(section, record) of what fails once a copy of `vectors` is changed."
    poisoned = copy.deepcopy(vectors)
    change(poisoned)
    return [(section, record) for section, record, _ in replay_simpler_tasks(poisoned).failures]


def other(text: str) -> str:
    "The list with its last id changed."
    ids = json.loads(text)
    return str([*ids[:-1], ids[-1] + 1])


def rename(parsed: dict, change):
    "The same inputs under other names."
    parsed["inputs"] = dict(zip(change(list(parsed["inputs"])), parsed["inputs"].values()))


def src(v):
    line = v["tasks"]["copy"][1]
    line["src"] = other(line["src"])


def spaces(v):
    line = v["tasks"]["copy"][1]
    line["src"] = line["src"].replace(", ", ",")


def tgt(v):
    line = v["tasks"]["search"][2]
    line["tgt"] = {"[150]": "[4273]"}.get(line["tgt"], "[150]")


def task(v): v["tasks"]["set"][0]["parsed"]["task"] = "deduplicate"
def symbol(v): v["tasks"]["sort"][3]["parsed"]["inputs"]["seq"][0] += 1
def renamed(v): rename(v["tasks"]["set"][0]["parsed"], lambda names: ["sequence"])
def swapped(v): rename(v["tasks"]["union"][1]["parsed"], lambda names: names[::-1])
def output(v): v["tasks"]["union"][1]["parsed"]["output"].reverse()
def missing(v): del v["tasks"]["delete"][2]["parsed"]["inputs"]["query"]
def no_parse(v): del v["tasks"]["delete"][0]["parsed"]
def elsewhere(v):
    tasks = v["tasks"]
    tasks["copy"], tasks["reverse"] = tasks["reverse"][:1], tasks["copy"][:1]


@pytest.mark.parametrize("change, where", [
    (src, [("copy", "line 1")]), (spaces, [("copy", "line 1")]), (tgt, [("search", "line 2")]),
    (task, [("set", "line 0")]), (symbol, [("sort", "line 3")]), (renamed, [("set", "line 0")]),
    (swapped, [("union", "line 1")]), (output, [("union", "line 1")]),
    (missing, [("delete", "line 2")]), (no_parse, [("delete", "line 0")]),
    (elsewhere, [("copy", "line 0"), ("reverse", "line 0")]),
], ids=lambda x: getattr(x, "__name__", ""))
def test_poisoned_line_is_named(change, where):
    assert failures(LINES, change) == where


def order(v): v["meta"]["order"].reverse()
def bounds(v): v["meta"]["length_range"] = [10, 221]
def seeds(v):
    rule = v["meta"]["seed_rule"]
    v["meta"]["seed_rule"] = rule.replace("y.random.seed(", "y.random.seed(2")


def maker(v): v["meta"]["generator"] += "0"
def unknown_task(v):
    v["tasks"]["sortt"] = v["tasks"].pop("sort")
    v["meta"]["order"] = list(v["tasks"])


@pytest.mark.parametrize("change", [order, bounds, seeds, maker, unknown_task])
def test_poisoned_head_fails(change):
    assert ("meta", "head") in failures(LINES, change)


def first_count(v): v["tasks"]["count_common"][0]["parsed"]["output"][-1] += 1
def dict_value(v): v["tasks"]["merge_dictionaries_three"][1]["parsed"]["inputs"]["body"][-1] += 1
def arranged(v): v["tasks"]["rearrange_string"][0]["parsed"]["output"].reverse()


@pytest.mark.parametrize("change", [first_count, dict_value, arranged])
def test_poisoned_exercise_is_named(change):
    assert len(failures(MBPP, change)) == 1


def test_clean_lines_pass():
    for vectors in (LINES, MBPP):
        tally = replay_simpler_tasks(vectors)
        lines = sum(map(len, vectors["tasks"].values()))
        assert tally.ok and tally.checked == 1 + lines, tally.table()


@pytest.mark.parametrize("empty", [{}, {"meta": LINES["meta"], "tasks": {}}, {"tasks": [1]}])
def test_empty_files_fail(empty):
    assert not replay_simpler_tasks(empty).ok


def only(op: str) -> dict:
    "The stored statistic of one op, with its head."
    return {"meta": STATS["meta"] | {"order": [op]}, "tasks": {op: STATS["tasks"][op]}}


def a_number(v): v["meta"]["number_token_ids"]["128"] = [209, 2578]
def no_number(v): del v["meta"]["number_token_ids"]["-1"]
def samples(v): v["meta"]["n_per_task"] = 24_999
def calls(v):
    acceptance = round(25_000 / 31_000, 5)
    v["tasks"]["search"].update(sampler_calls=31_000, acceptance=acceptance)


def accept(v): v["tasks"]["search"]["acceptance"] += 1e-4
def one_more(v): v["tasks"]["search"]["hist"]["index"]["7"] += 1
def some_yes(v): move(v["tasks"]["search"]["hist"]["found"], "1", "0", 1500)
def later(v): move(v["tasks"]["search"]["hist"]["index"], "0", "9", 250)
def bin_law(v): move(v["tasks"]["search"]["symbol_bins"], 3, 4, 3000)
def all_bins(v): move(v["tasks"]["search"]["symbol_bins_all_occurrences"], 3, 4, 5000)
def bin_sum(v): v["tasks"]["search"]["symbol_bins_all_occurrences"][0] += 1


def move(counts, a, b, n):
    "Move `n` from one count to another: sums stay."
    counts[a] -= n
    counts[b] += n


@pytest.mark.parametrize("change, record", [
    (a_number, "head"), (no_number, "head"), (samples, "sums"), (calls, "acceptance"),
    (accept, "sums"), (one_more, "sums"), (bin_sum, "sums"), (some_yes, "found"),
    (later, "index"), (bin_law, "symbol_bins"), (all_bins, "symbol_bins_all_occurrences"),
], ids=lambda x: getattr(x, "__name__", ""))
def test_poisoned_statistic_is_named(change, record, survey, monkeypatch):
    "With one survey for all, so that it stays quick."
    monkeypatch.setattr(replay, "Survey", lambda op: survey)
    assert failures(only("search")) == []
    assert record in [name for _, name in failures(only("search"), change)]


@pytest.fixture(scope="module")
def survey() -> Survey:
    return Survey("search")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dev.json", "mbpp_dev.json", "stats.json"])
def test_full_vectors(name):
    full = find_vectors("simpler_tasks", name)
    if full is None or ROOT in full.parents:
        pytest.skip("only the committed part is here")
    tally = replay_simpler_tasks(load_vectors(full))
    assert tally.ok, tally.table()


MIXTURES = ["paper_unary_core_100k", "paper_binary_1m", "paper_set_ops_1m"]


@pytest.mark.parametrize("name, most", [
    ("smoke", None), *((name, most) for name in MIXTURES for most in (None, 128))])
def test_shares_are_equal(name, most):
    "Within three sigma, also where most draws are too long."
    settings = {"preset": name} | ({"max_length": most} if most else {})
    task = create_task("simpler_tasks", settings)
    n, k = 1500, len(task.config.tasks)
    counts = Counter(x.meta["op"] for x in task.examples(11, "train", 0, range(n)))
    assert set(counts) == set(task.config.tasks) == set(task.op_names())
    sigma = (n / k * (1 - 1 / k)) ** 0.5
    for op, count in counts.items():
        assert abs(count - n / k) < 3 * sigma, (op, count)


def test_requested_override():
    "The README's quick start."
    counts = {"sequence_count": 256, "eval_sequence_count": 64}
    task = create_task("simpler_tasks", {"preset": "paper_binary_1m", **counts, "max_length": 128})
    data = task.build_datasets(seed=0)
    assert (len(data.train_dataset), len(data.eval_dataset)) == (256, 64)
    for x in data.train_dataset.batch(range(256)):
        assert len(x) <= 128 and x.mask.sum() == len(x.target) + 1
        assert x.ids[-1] == task.vocab["<eos>"]


@pytest.mark.parametrize("name", PRESETS)
def test_preset(name):
    "Nothing is rejected for its length, and both columns of the paper's file can be read back."
    task = create_task("simpler_tasks", {"preset": name})
    unbound = create_task("simpler_tasks", {"preset": name, "max_length": 10_000})
    examples = task.examples(1, "train", 0, range(8))
    free = unbound.examples(1, "train", 0, range(8))
    assert [x.ids.tolist() for x in examples] == [x.ids.tolist() for x in free]
    for x in [task.sample(4_999_999), *examples]:
        assert x.mask.sum() == len(x.target) + 1
        head, _, tail = x.official["src"].partition(", 32099, ")
        assert json.loads(head + "]") == NAMES[x.meta["op"]] and tail
        assert json.loads(x.official["tgt"]) == x.meta["output"]


def test_presets_of_upstream():
    "Every name that upstream's README and code use."
    tasks = [*ALIASES, *ops]
    large = ("copy", "identity", "set", "unary_core", "binary", "set_ops")
    names = {f"paper_{t}_100k" for t in tasks} | {f"paper_{t}_1m" for t in large}
    names |= {f"official_{t}" for t in ops}
    assert names | {"smoke", "paper_unary_core_100k"} <= PRESETS.keys()
    assert create_task("simpler_tasks", tasks=[*ALIASES]).config.tasks == tuple(ALIASES.values())


def test_vocabulary():
    "Pieces always exist, also in small; the whole alphabet keeps T5's ids."
    small, whole = create_task("simpler_tasks", preset="smoke"), create_task("simpler_tasks")
    assert len(small.vocab) < 200 and len(whole.vocab) == 32_009
    for task in (small, whole):
        w = task.writing
        pieces = [2405, 834, 4273, 150, 32099, *number_ids(17), *number_ids(-1)]
        assert w.paper[w.model[pieces]].tolist() == pieces
        named = task.vocab.text(w.model[[*NAMES["first_char"], 32099, *number_ids(12)]])
        assert named == "▁first ##_ ##char :: ▁12"
    assert whole.writing.model[31_999] == 31_999 and len(NUMBERS) == 222


@pytest.mark.parametrize("config, says", [
    ({"tasks": ["sett"]}, "did you mean 'set'"),
    ({"tasks": []}, "tasks is empty"),
    ({"symbols": 1}, "symbols=1: must be 2..31998"),
    ({"min_symbols": 3}, "min_symbols=3"),
    ({"max_symbols": 9}, "max_symbols=9: must be 10..1020"),
    ({"max_length": 14}, "works is"),
    ({"preset": "paper_bianry_1m"}, "did you mean 'paper_binary_1m'"),
    ({"loss": "targets"}, "'target'"),
    ({"symbol": 3}, "mean 'symbols'"),
    ({"tasks": ["remove_fl_occ"], "min_symbols": 30, "max_symbols": 30}, "that works is 32"),
    ({"tasks": ["length"], "min_symbols": 300, "max_symbols": 300}, "must be at most 220"),
])
def test_refusals(config, says):
    with pytest.raises(InputError) as refusal:
        create_task("simpler_tasks", config)
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("settings", [
    {"symbols": 2, "min_symbols": 4},
    {"symbols": 3, "max_symbols": 24},
    {"min_symbols": 28, "max_symbols": 28},
])
def test_far_corners(settings):
    "Tiny alphabets and a fixed length: every op that has a body of that length still answers."
    impossible = {"remove_fl_occ"} if settings.get("max_symbols") == 28 else set()
    for op in ops.keys() - impossible:
        task = create_task("simpler_tasks", settings, tasks=[op], max_length=1000)
        for x in task.examples(0, "train", 0, range(10)):
            lists = x.meta["inputs"].values()
            size = sum(map(len, lists)) + len(lists) - 1
            assert task.config.min_symbols <= size <= task.config.max_symbols
            assert x.meta["draws"] >= 1


def test_loss_on_all():
    x = create_task("simpler_tasks", preset="smoke", loss="all").sample(0)
    assert x.mask.all() and not create_task("simpler_tasks", preset="smoke").sample(0).mask.all()


def test_steps_are_told_of_some_ops():
    told = {}
    for op in ops:
        task = SimplerTasks(SimplerTasksConfig(tasks=(op,), min_symbols=6, max_symbols=24))
        told[op] = task.steps(task.sample(0))
    assert {op for op, steps in told.items() if steps} == {
        "search", "get_index", "delete", "filter", "count", "replace", "replace_many",
        "sort", "set", "deduplicate"}


def test_parity_command(tmp_path):
    "Exit status 0, and 1 for a poisoned copy."
    run = "import sys; from pptrain.cli import main; sys.exit(main())"
    call = [sys.executable, "-c", run, "parity", "simpler_tasks"]
    bad = copy.deepcopy(MBPP)
    first_count(bad)
    (tmp_path / "bad.json").write_text(json.dumps(bad))
    for file, status in ((HERE / "mbpp_dev.json", 0), (tmp_path / "bad.json", 1)):
        done = subprocess.run([*call, str(file)], cwd=ROOT, capture_output=True)
        assert done.returncode == status
    assert registered_task("simpler_tasks").parity == "pptrain.tasks.simpler_tasks.replay"
