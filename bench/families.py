"""How fast is data? Tokens per CPU-second of every family and op, ours and upstream's.

    python bench/families.py --upstream FOLDER_OF_PPTRAIN_0.3.0

`--upstream` is a folder into which pptrain 0.3.0 was installed (`pip install --no-deps --target
FOLDER pptrain==0.3.0`); it runs under this Python. Every row is a process of its own with one
thread; contestants take turns. Ours are batches of 64 through the collator, as a trainer takes
them; upstream builds a list, and the time of building it is counted. A token is an id that
attention sees. The first item is timed from `import pptrain` on, with machine code of an earlier
run kept; `import torch`, which it does not need, apart. Prints a table, writes
bench/results/families-<machine>.csv, a row as soon as it is measured, and a picture beside it.
With `--family` the rows of other families stay as they were; `--means` only reads.
"""
from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BATCH = 64
LEAST = 1.0        # CPU-seconds of one measurement
COLUMNS = ("family", "what", "who", "tokens_per_cpu_second", "torch_cpu_s", "first_item_cpu_s",
           "first_item_s", "times_upstream")
SYMBOLIC = ("procedural", "dyck", "simpler_tasks", "lime", "summarization")


@dataclass(frozen=True)
class Row:
    "One thing to draw: our settings, and upstream's of the same kind where it has them."
    family: str
    what: str
    ours: dict
    theirs: dict | None = None


NCA = {   # upstream's settings of the paper's automata: a rule a sequence, in the band
    "max_length": 1025, "grid_size": 12, "num_states": 10, "init_rollout_steps": 10,
    "max_rule_attempts_per_sequence": 100}


def op_row(family: str, op: str, preset: str, theirs: dict | None) -> Row:
    return Row(family, op, {"preset": preset, "tasks": [op]}, theirs)


def rows() -> list[Row]:
    "Every op of procedural, simpler_tasks and lime, every language of dyck, and more."
    shared = ("identity", "reverse", "sort", "set", "union", "delete")
    table = [Row("procedural", op, {"preset": f"paper_{op}_len64"},
                 {"preset": f"paper_{op}_len64", "max_length": 192}) for op in shared]
    table.append(Row("procedural", "stack", {"preset": "paper_stack_len64"}))
    table += [Row("dyck", name, {"preset": name}, {"preset": name})
              for name in ("paper_k8", "paper_k16", "paper_k32", "paper_k64")]
    table += [Row("dyck", name, {"preset": name}) for name in (
        "official_shuffle", "hu_dyck", "hu_ww", "ri_nesting_uniform", "ri_flat_zipf",
        "ri_no_structure_uniform", "ri_flat_random_walk")]
    for op in ("copy", "reverse", "set", "deduplicate", "length", "duplicate", "count", "delete",
               "filter", "get_index", "search", "sort", "replace", "replace_many", "union",
               "intersect", "set_1_minus_2"):
        table.append(op_row("simpler_tasks", op, "paper_set_1m", {
            "preset": "paper_set_1m", "tasks": [op]}))
    table += [op_row("simpler_tasks", op, "paper_set_1m", None)
              for op in ("longest_word", "rearrange_string", "count_common",
                         "merge_dictionaries_three")]
    table += [op_row("lime", op, "paper_mixed_5m", {"preset": "paper_mixed_5m", "modes": [op]})
              for op in ("induct", "deduct", "abduct")]
    table += [op_row("lime", op, "official_rewrite_multistep_easy", None)
              for op in ("rewrite", "rewrite_multistep_easy")]
    table.append(Row("lime", "mixed", {"preset": "paper_mixed_5m"}, {"preset": "paper_mixed_5m"}))
    table += [Row("summarization", name, {"preset": name}, {"preset": name})
              for name in ("paper_ourtasks_subset_100k", "paper_step_tasks_100k")]
    table += [Row("nca", name, {"preset": name}, NCA | band) for name, band in (
        ("paper_web_text", {"complexity_min": .5, "complexity_max": 1.0}),
        ("paper_code", {"complexity_min": .3, "complexity_max": .4}))]
    table += [Row("random_rnn", "cold", {"preset": "cold_v512"}),
              Row("repetition", "simple_10", {"preset": "simple_10"})]
    if find_spec("reasoning_gym"):
        table.append(Row("rg:chain_sum", "chain_sum", {}))
    return table


def ours(row: Row) -> dict:
    "Batches of 64, collated; the first item and the first batch are timed apart."
    before, started = time.process_time(), time.perf_counter()
    from pptrain.core import create_task
    task = create_task(row.family, {**row.ours, "sequence_count": 10**9})
    task.sample(0)
    first_item = time.perf_counter() - started
    first_item_cpu = time.process_time() - before
    import torch
    torch_cpu = time.process_time() - before - first_item_cpu
    torch.set_num_threads(1)
    bundle = task.build_datasets(seed=1)
    data, collate = bundle.train_dataset, bundle.data_collator
    compile_now()
    collate(data.__getitems__(range(1024)))   # every op of a mixture
    tokens, at, start = 0, BATCH, time.process_time()
    while time.process_time() - start < LEAST:
        batch = collate(data.__getitems__(range(at, at + BATCH)))
        tokens += int(batch["attention_mask"].sum())
        at += BATCH
    speed = tokens / (time.process_time() - start)
    return {"speed": speed, "torch_cpu": torch_cpu, "first_item_cpu": first_item_cpu,
            "first_item": first_item}


def compile_now():
    "The speed of machine code is asked for; pptrain waits until it pays."
    from pptrain.data import fillers
    fillers.WORTH = 0


def upstream(row: Row) -> dict:
    "Lists built by upstream, twice as many until a second is over."
    import torch
    from pptrain import create_task
    torch.set_num_threads(1)
    assert row.theirs is not None
    count = 16
    while True:
        config = {**row.theirs, "sequence_count": count, "eval_sequence_count": 1}
        task = create_task(row.family, config)
        start = time.process_time()
        data = task.build_datasets(seed=1).train_dataset
        tokens = sum(len(data[i]["input_ids"]) for i in range(len(data)))
        spent = time.process_time() - start
        if spent > LEAST:
            return {"speed": tokens / spent}
        count *= 2


def elsewhere(who: str, place: Path, number: int) -> dict | None:
    "One measurement in a fresh process; None, with a line that says why, where it fails."
    paths = [str(place), *os.environ.get("PYTHONPATH", "").split(os.pathsep)[1:]]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--one", who, str(number)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    print(f"  {who}: not measured ({last[:120]})", file=sys.stderr)
    return None


def records_of(row: Row, found: dict[str, dict]) -> list[dict]:
    "Rows of the CSV for one thing, with the ratios."
    speeds = {who: result["speed"] for who, result in found.items()}
    records = []
    for who, result in found.items():
        record = {"family": row.family, "what": row.what, "who": who,
                  "tokens_per_cpu_second": round(result["speed"])}
        for name in ("torch_cpu", "first_item_cpu", "first_item"):
            if name in result:
                record[f"{name}_s"] = round(result[name], 2)
        if "upstream" in speeds:
            record["times_upstream"] = round(result["speed"] / speeds["upstream"], 1)
        records.append(record)
    return records


def recorded(path: Path) -> list[dict]:
    "Rows of earlier runs on this machine."
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def record(path: Path, measured: list[dict]) -> None:
    "Put what was measured into the file, in place of what it said of the same thing."
    path.parent.mkdir(parents=True, exist_ok=True)
    things = {(row["family"], row["what"]) for row in measured}
    kept = [row for row in recorded(path) if (row["family"], row["what"]) not in things]
    order = {(row.family, row.what): place for place, row in enumerate(rows())}
    both = sorted(kept + measured, key=lambda r: order.get((r["family"], r["what"]), len(order)))
    beside = path.with_suffix(".new")
    with open(beside, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(both)
    beside.replace(path)


def print_means(path: Path) -> None:
    "Geometric means of ours over upstream's: of the ops of each family, and of the means."
    ratios: dict[str, list[float]] = {}
    for row in recorded(path):
        if row["who"] == "ours" and row["times_upstream"]:
            ratios.setdefault(row["family"], []).append(float(row["times_upstream"]))
    means = {family: statistics.geometric_mean(found) for family, found in ratios.items()}
    for family, mean in means.items():
        print(f"{family}: {mean:.1f} x upstream (geometric mean), least {min(ratios[family])}")
    if set(SYMBOLIC) <= set(means):
        mean = statistics.geometric_mean([means[family] for family in SYMBOLIC])
        print(f"the five symbolic families: {mean:.1f} x upstream (geometric mean of their means)")


def draw(table: Path, path: Path) -> None:
    "A dot a measurement, an op a line, on a logarithmic axis."
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    records = recorded(table)
    names = list(dict.fromkeys(f"{r['family']} {r['what']}" for r in records))
    _, axes = plt.subplots(figsize=(8, 0.22 * len(names) + 1))
    for who, color in (("upstream", "#999999"), ("ours", "#0072b2")):
        mine = [r for r in records if r["who"] == who]
        places = [names.index(f"{r['family']} {r['what']}") for r in mine]
        speeds = [int(r["tokens_per_cpu_second"]) for r in mine]
        axes.plot(speeds, places, "o", color=color, label=who)
    axes.set(xscale="log", xlabel="tokens per CPU-second, one thread")
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    axes.legend()
    plt.tight_layout()
    plt.savefig(path, dpi=120)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--upstream", type=Path, help="folder that holds pptrain 0.3.0")
    parser.add_argument("--family", action="append", help="only this one (may be repeated)")
    parser.add_argument("--means", action="store_true", help="of what was measured before")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = arguments()
    if options.one:
        who, number = options.one
        row = rows()[int(number)]
        print(json.dumps(upstream(row) if who == "upstream" else ours(row)))
        return
    path = options.out / f"families-{platform.node()}.csv"
    if not options.means:
        measure(options, path)
    print_means(path)
    draw(path, path.with_suffix(".png"))
    print(path)


def measure(options: argparse.Namespace, path: Path) -> None:
    "All rows that were asked for, each written as soon as it is measured."
    places = {"ours": ROOT, "upstream": options.upstream}
    print(f"{platform.node()}, {os.cpu_count()} cores, load {os.getloadavg()}, "
          f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d %H:%M')}")
    for number, row in enumerate(rows()):
        if options.family and row.family not in options.family:
            continue
        found = {}
        for who, place in places.items():
            if place and (who != "upstream" or row.theirs):
                result = elsewhere(who, place.resolve(), number)
                found |= {who: result} if result else {}
        record(path, records_of(row, found))
        speeds = "  ".join(f"{who} {result['speed'] / 1e6:7.2f}M"
                           for who, result in found.items())
        print(f"{row.family:14} {row.what:26} {speeds}", flush=True)


if __name__ == "__main__":
    main()
