"""simpler_tasks: poison is named, shares are kept, presets hold everything, items are addresses."""
from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from collections import Counter

import pytest
from conftest import ROOT

from pptrain.core import create_task, registered_presets, registered_task
from pptrain.parity import find_vectors, load_vectors
from pptrain.parts.token_lists import NAMES, NUMBERS, number
from pptrain.replays.simpler_tasks import parity
from pptrain.tasks.simpler_tasks import ALIASES, ops
from pptrain.vocab import InputError

HERE = ROOT / "tests" / "vectors" / "simpler_tasks"
LINES, MBPP, STATS = (load_vectors(HERE / f"{name}.json") for name in ("dev", "mbpp_dev", "stats"))
PRESETS = {p.name: p for p in registered_presets("simpler_tasks")}


def failures(vectors: dict, change=lambda v: None) -> list[tuple[str, str]]:
    "(section, record) of what fails once a copy of `vectors` is changed."
    poisoned = copy.deepcopy(vectors)
    change(poisoned)
    return [(section, record) for section, record, _ in parity(poisoned).failures]


def other(text: str) -> str:
    "The list with its last id changed."
    ids = json.loads(text)
    return str([*ids[:-1], ids[-1] + 1])


def rename(parsed: dict, change):
    "The same inputs under other names."
    parsed["inputs"] = dict(zip(change(list(parsed["inputs"])), parsed["inputs"].values()))


def src(v): v["tasks"]["copy"][1]["src"] = other(v["tasks"]["copy"][1]["src"])
def spaces(v): v["tasks"]["copy"][1]["src"] = v["tasks"]["copy"][1]["src"].replace(", ", ",")
def tgt(v): v["tasks"]["search"][2]["tgt"] = {"[150]": "[4273]"}.get(v["tasks"]["search"][2]["tgt"], "[150]")
def task(v): v["tasks"]["set"][0]["parsed"]["task"] = "deduplicate"
def symbol(v): v["tasks"]["sort"][3]["parsed"]["inputs"]["seq"][0] += 1
def renamed(v): rename(v["tasks"]["set"][0]["parsed"], lambda names: ["sequence"])
def swapped(v): rename(v["tasks"]["union"][1]["parsed"], lambda names: names[::-1])
def output(v): v["tasks"]["union"][1]["parsed"]["output"].reverse()
def missing(v): del v["tasks"]["delete"][2]["parsed"]["inputs"]["query"]
def no_parse(v): del v["tasks"]["delete"][0]["parsed"]
def elsewhere(v): v["tasks"].update(copy=v["tasks"]["reverse"][:1], reverse=v["tasks"]["copy"][:1])


@pytest.mark.parametrize("change, where", [
    (src, [("copy", "line 1")]), (spaces, [("copy", "line 1")]), (tgt, [("search", "line 2")]),
    (task, [("set", "line 0")]), (symbol, [("sort", "line 3")]), (renamed, [("set", "line 0")]),
    (swapped, [("union", "line 1")]), (output, [("union", "line 1")]), (missing, [("delete", "line 2")]),
    (no_parse, [("delete", "line 0")]), (elsewhere, [("copy", "line 0"), ("reverse", "line 0")]),
], ids=lambda x: getattr(x, "__name__", ""))
def test_poisoned_line_is_named(change, where):
    assert failures(LINES, change) == where


def order(v): v["meta"]["order"].reverse()
def bounds(v): v["meta"]["length_range"] = [10, 221]
def seeds(v): v["meta"].update(seed_rule=v["meta"]["seed_rule"].replace("y.random.seed(", "y.random.seed(2"))
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
        tally = parity(vectors)
        assert tally.ok and tally.checked == 1 + sum(map(len, vectors["tasks"].values())), tally.table()
    for empty in ({}, {"meta": LINES["meta"], "tasks": {}}, {"tasks": [1]}): assert not parity(empty).ok


def only(op: str) -> dict:
    "The stored statistic of one op, with its head."
    return {"meta": STATS["meta"] | {"order": [op]}, "tasks": {op: STATS["tasks"][op]}}


def a_number(v): v["meta"]["number_token_ids"]["128"] = [209, 2578]
def no_number(v): del v["meta"]["number_token_ids"]["-1"]
def samples(v): v["meta"]["n_per_task"] = 24_999
def calls(v): v["tasks"]["search"].update(sampler_calls=31_000, acceptance=round(25_000 / 31_000, 5))
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
    (a_number, "head"), (no_number, "head"), (samples, "sums"), (calls, "acceptance"), (accept, "sums"),
    (one_more, "sums"),
    (some_yes, "found"), (later, "index"), (bin_law, "symbol_bins"),
    (all_bins, "symbol_bins_all_occurrences"),
    (bin_sum, "sums"),
], ids=lambda x: getattr(x, "__name__", ""))
def test_poisoned_statistic_is_named(change, record, monkeypatch):
    "With one survey for all, so that it stays quick."
    import pptrain.replays.simpler_tasks as replays
    if not SURVEY: SURVEY.append(replays.Survey("search"))
    monkeypatch.setattr(replays, "Survey", lambda op: SURVEY[0])
    assert failures(only("search")) == []
    assert record in [name for _, name in failures(only("search"), change)]


SURVEY: list = []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dev.json", "mbpp_dev.json", "stats.json"])
def test_full_vectors(name):
    full = find_vectors("simpler_tasks", name)
    if full is None or ROOT in full.parents: pytest.skip("only the committed part is here")
    tally = parity(load_vectors(full))
    assert tally.ok, tally.table()


@pytest.mark.parametrize("name", ["smoke", "paper_unary_core_100k", "paper_binary_1m", "paper_set_ops_1m"])
@pytest.mark.parametrize("most", [None, 128])
def test_shares_are_equal(name, most):
    "Within three sigma, also where most draws are too long."
    if name == "smoke" and most: pytest.skip("never too long")
    task = create_task("simpler_tasks", {"preset": name} | ({"max_length": most} if most else {}))
    n, k = 1500, len(task.config.tasks)
    counts = Counter(x.meta["task"] for x in task.examples(11, "train", 0, range(n)))
    assert set(counts) == set(task.config.tasks)
    for op, got in counts.items(): assert abs(got - n / k) < 3 * (n / k * (1 - 1 / k)) ** 0.5, (op, got)


def test_requested_override():
    "The README's quick start."
    counts = {"sequence_count": 256, "eval_sequence_count": 64}
    task = create_task("simpler_tasks", {"preset": "paper_binary_1m", **counts, "max_length": 128})
    data = task.build_datasets(seed=0)
    assert (len(data.train_dataset), len(data.eval_dataset)) == (256, 64)
    for x in data.train_dataset.batch(range(256)):
        assert len(x) <= 128 and x.mask.sum() == len(x.target) + 1 and x.ids[-1] == task.vocab["<eos>"]


@pytest.mark.parametrize("name", PRESETS)
def test_preset(name):
    start = time.process_time()
    task = create_task("simpler_tasks", {"preset": name})
    data = task.build_datasets(seed=1)
    far = task.sample(4_999_999)
    assert time.process_time() - start < 2
    spec = task.tokenizer_spec()
    unbound = create_task("simpler_tasks", {"preset": name, "max_length": 10_000})
    found, free = [far, *data.train_dataset.batch(range(8))], unbound.examples(1, "train", 0, range(8))
    assert [x.ids.tolist() for x in found[1:]] == [x.ids.tolist() for x in free]   # nothing is rejected
    for x in found:
        assert 0 < x.ids.min() and x.ids.max() < spec.vocab_size and x.mask.sum() == len(x.target) + 1
        head, _, tail = x.official["src"].partition(", 32099, ")
        assert json.loads(head + "]") == NAMES[x.meta["task"]] and tail
        assert json.loads(x.official["tgt"]) == x.meta["output"]


def test_presets_of_upstream():
    "Every name that upstream's README and code use."
    tasks = [*ALIASES, *ops]
    large = ("copy", "identity", "set", "unary_core", "binary", "set_ops")
    names = {f"paper_{t}_100k" for t in tasks} | {f"paper_{t}_1m" for t in large}
    names |= {f"official_{t}" for t in ops}
    assert names | {"smoke", "paper_unary_core_100k"} <= PRESETS.keys()
    assert create_task("simpler_tasks", tasks=[*ALIASES]).config.tasks == tuple(ALIASES.values())


def test_item_is_an_address():
    task = create_task("simpler_tasks", {"preset": "smoke", "sequence_count": 7})
    data = task.build_datasets(seed=5).train_dataset
    alone = [data[i]["input_ids"].tolist() for i in range(7)]
    together = [row["input_ids"].tolist() for row in data.__getitems__([6, 2, 0])]
    assert together == [alone[6], alone[2], alone[0]]
    code = ("import json; from pptrain.core import create_task; "
            "print(json.dumps(create_task('simpler_tasks', preset='smoke').sample(6, seed=5).ids.tolist()))")
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == alone[6]
    assert task.sample(6, "eval", 5).ids.tolist() != alone[6] != task.sample(6, seed=6).ids.tolist()


def test_vocabulary():
    "Pieces always exist, also in small; the whole alphabet keeps T5's ids."
    small, whole = create_task("simpler_tasks", preset="smoke"), create_task("simpler_tasks")
    assert len(small.vocab) < 200 and len(whole.vocab) == 32_009
    for task in (small, whole):
        w = task.writing
        pieces = [2405, 834, 4273, 150, 32099, *number(17), *number(-1)]
        assert w.paper[w.model[pieces]].tolist() == pieces
        named = task.vocab.text(w.model[[*NAMES["first_char"], 32099, *number(12)]])
        assert named == "▁first ##_ ##char :: ▁12"
    assert whole.writing.model[31_999] == 31_999 and len(NUMBERS) == 222


@pytest.mark.parametrize("config, says", [
    ({"tasks": ["sett"]}, "did you mean 'set'"), ({"tasks": []}, "tasks is empty"),
    ({"symbols": 1}, "symbols=1: must be 2..31998"), ({"min_symbols": 3}, "min_symbols=3"),
    ({"max_symbols": 9}, "max_symbols=9: must be 10..1020"), ({"max_length": 14}, "works is"),
    ({"preset": "paper_bianry_1m"}, "did you mean 'paper_binary_1m'"), ({"loss": "targets"}, "'target'"),
    ({"symbol": 3}, "mean 'symbols'"),
    ({"tasks": ["remove_fl_occ"], "min_symbols": 30, "max_symbols": 30}, "widen the range"),
    ({"tasks": ["length"], "min_symbols": 300, "max_symbols": 300}, "go up to 220"),
])
def test_refusals(config, says):
    with pytest.raises(InputError) as told: create_task("simpler_tasks", config)
    assert says in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("settings", [
    dict(symbols=2, min_symbols=4), dict(symbols=3, max_symbols=24), dict(min_symbols=28, max_symbols=28)])
def test_far_corners(settings):
    "Tiny alphabets and a fixed length: every op that has a body of that length still answers."
    for op in ops.keys() - ({"remove_fl_occ"} if settings.get("max_symbols") == 28 else set()):
        task = create_task("simpler_tasks", settings, tasks=[op], max_length=1000)
        for x in task.examples(0, "train", 0, range(10)):
            size = sum(map(len, x.meta["inputs"].values())) + len(x.meta["inputs"]) - 1
            assert task.config.min_symbols <= size <= task.config.max_symbols and x.meta["draws"] >= 1


def test_loss_on_all():
    x = create_task("simpler_tasks", preset="smoke", loss="all").sample(0)
    assert x.mask.all() and not create_task("simpler_tasks", preset="smoke").sample(0).mask.all()


def test_parity_command(tmp_path):
    "Exit status 0, and 1 for a poisoned copy."
    run = "import sys; from pptrain.cli import main; sys.exit(main())"
    call = [sys.executable, "-c", run, "parity", "simpler_tasks"]
    bad = copy.deepcopy(MBPP)
    first_count(bad)
    (tmp_path / "bad.json").write_text(json.dumps(bad))
    for file, status in ((HERE / "mbpp_dev.json", 0), (tmp_path / "bad.json", 1)):
        assert subprocess.run([*call, str(file)], cwd=ROOT, capture_output=True).returncode == status
    assert registered_task("simpler_tasks").parity == "pptrain.replays.simpler_tasks"
