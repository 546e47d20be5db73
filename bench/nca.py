"""How fast are automata? Ours, upstream 0.3.0 and, if it is at hand, the paper's code, in one run.

    python bench/nca.py --upstream-python ../upstream-venv/bin/python
    python bench/nca.py --upstream-python P --official CHECKOUT --official-python Q

Upstream needs an environment of its own (`pip install pptrain==0.3.0`), the paper's code a
checkout of danihyunlee/nca-pre-pretraining and a Python with jax and flax. Every row runs in a
process of its own with one thread; figures are work per CPU-second (median of the repetitions),
which other load on the machine disturbs least. Rows of the contestants alternate. Prints a table
and writes bench/results/nca-<machine>.json.
"""
from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import card

ROOT = Path(__file__).resolve().parents[1]
BANDS = {
    "rollouts, no filter": None,
    "sequences, band 0.5-1.0": (0.5, 1.0),
    "sequences, band 0.3-0.4": (0.3, 0.4),
}
COUNTS = {   # sequences per measurement, one number per band
    "ours": (4096, 2048, 1024),
    "upstream": (200, 100, 40),
    "official": (512, 512, 256),
}


@dataclass
class Contestant:
    "Who is measured, and with what."
    label: str
    kind: str                 # a key of COUNTS
    python: str
    batch: int = 1
    env: dict[str, str] = field(default_factory=dict)


def clocked(work, items: int) -> float:
    "`items` per CPU-second of `work()`."
    start = time.process_time()
    work()
    return items / (time.process_time() - start)


def ours(band, count: int, batch: int, device: str) -> float:
    "Datasets as a trainer sees them: fresh rules, tokens out, in batches, after a warm-up."
    import torch
    from pptrain.core import create_task
    torch.set_num_threads(1)
    settings = {"complexity_probe_frames": 0}
    if band is not None:
        settings = {"complexity_min": band[0], "complexity_max": band[1]}
    task = create_task("nca", preset="paper_web_text", sequence_count=10**9, **settings)
    task.device = device
    data = task.build_datasets(seed=1).train_dataset
    for at in range(10**6, 10**6 + 2048, batch):   # until machine code is there
        data.__getitems__(range(at, at + batch))
    # what a GPU does is no CPU time
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    for at in range(0, count, batch):
        data.__getitems__(range(at, at + batch))
    made = -(-count // batch) * batch
    return made / (clock() - start)


def upstream(band, count: int) -> float:
    "Upstream's generator: a pool of rules in the band, one rollout and one token row per rule."
    import numpy as np
    from pptrain.tasks.nca import generator as g
    rng = np.random.default_rng(0)
    shared = dict(grid_size=12, num_states=10, rollout_stride=1, init_rollout_steps=10,
                  identity_bias=0.0, temperature=1e-4)

    def rules():
        if band is None:
            return [g.sample_rule(rng, 10, 16, 4) for _ in range(count)]
        pool, _ = g.generate_rule_pool(
            rng, rule_count=count, sequence_count=count, patch_size=2, complexity_probe_frames=10,
            complexity_min=band[0], complexity_max=band[1], max_rule_attempts_per_sequence=100,
            hidden_dim=16, perception_dim=4, **shared)
        return pool

    def work():
        for rule in rules():
            film = g.rollout_rule(rng, rule=rule, frame_count=27, **shared)
            tokens = g.patchify_trajectory(film, num_states=10, patch_size=2,
                                           start_token_id=10_000, end_token_id=10_001)
            g.create_training_example(tokens, max_length=1024, frame_token_length=38, min_frames=1)

    return clocked(work, count)


def official(band, count: int, checkout: str) -> float:
    "The paper's functions as shipped; arguments by the names that this checkout's functions take."
    import inspect
    sys.path.insert(0, checkout)
    import jax
    from utils import nca, tokenizers
    known = dict(
        seed=jax.random.PRNGKey(0), num_rules=count, num_sims=count, grid=12, d_state=10,
        n_groups=1, identity_bias=0.0, temperature=1e-4, dT=1, start_step=10, num_examples=27,
        n_steps=10,
        tokenizer=tokenizers.NCA_Tokenizer(2, num_colors=10), mode="gzip",
        threshold=band and band[0], upper_bound=band and band[1])

    def call(name, **more):
        function = getattr(nca, name)
        takes = inspect.signature(function).parameters
        return function(**{k: v for k, v in (known | more).items() if k in takes})

    def work():
        if band:
            rules = call("generate_rules_batch")
        else:
            rules = jax.random.split(known["seed"], count)
        jax.block_until_ready(call("generate_nca_dataset", rule_seeds=rules))

    return clocked(work, count)


def measure(kind: str, name: str, count: int, batch: int, checkout: str, device: str) -> float:
    "Work per second of one contestant."
    band = BANDS[name]
    if kind == "upstream":
        return upstream(band, count)
    if kind == "official":
        return official(band, count, checkout)
    return ours(band, count, batch, device)


def elsewhere(who: Contestant, name: str, count: int, checkout: str, device: str) -> float | None:
    "One measurement in a fresh process; None, with a line that says why, where it fails."
    task = [who.kind, name, str(count), str(who.batch), checkout, device]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    env |= {"OMP_NUM_THREADS": "1"} | who.env
    done = subprocess.run([who.python, str(Path(__file__).resolve()), "--one", *task],
                          capture_output=True, text=True, env=env,
                          cwd=ROOT if who.kind == "ours" else Path(who.python).parent)
    if done.returncode == 0:
        return float(done.stdout.split()[-1])
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    print(f"{who.label}, {name}: not measured ({last[:160]})", file=sys.stderr)
    return None


def processor() -> str:
    "The processor's name."
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if "model name" in line:
                return line.split(":")[1].strip()
    return platform.processor()


def machine() -> dict:
    "Name, processor and versions."
    import torch
    return card.machine() | {
        "cpu": processor(), "simd": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None}


def contestants(options: argparse.Namespace) -> list[Contestant]:
    "Those that this machine can measure."
    mine = {"PYTHONPATH": str(ROOT)}
    everyone = [
        Contestant("ours, batches of 512", "ours", sys.executable, 512, mine),
        Contestant("ours, batches of 32", "ours", sys.executable, 32, mine),
    ]
    if options.upstream_python:
        everyone.append(Contestant("upstream 0.3.0", "upstream", options.upstream_python))
    if options.official:
        python = options.official_python or sys.executable
        cpu_only = {"JAX_PLATFORMS": "cpu"}
        everyone.append(Contestant("paper's code", "official", python, env=cpu_only))
    return everyone


def rows_of(name: str, speeds: dict[str, list[float]]) -> list[dict]:
    "One row per contestant that was measured; prints them."
    middles = {label: statistics.median(values) for label, values in speeds.items() if values}
    base = middles.get("upstream 0.3.0", float("nan"))
    rows = []
    for label, middle in middles.items():
        tokens = middle * 1024
        print(f"{name:<26} {label:<24} {middle:>9,.1f} /CPU-s {tokens / 1e3:>9,.0f}k tok/CPU-s "
              f"{middle / base:>7.1f}x upstream", flush=True)
        rows.append({
            "what": name,
            "who": label,
            "per_cpu_second": round(middle, 1),
            "runs": [round(value, 1) for value in speeds[label]],
            "tokens_per_cpu_second": round(tokens),
            "times_upstream": round(middle / base, 1),
        })
    return rows


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--upstream-python", help="Python of an environment with pptrain==0.3.0")
    parser.add_argument("--official", help="checkout of the paper's code")
    parser.add_argument("--official-python", help="Python with jax and flax")
    parser.add_argument("--device", default="cpu", help="where our grids live")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: bench/results)")
    parser.add_argument("--one", nargs=6, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = arguments()
    if options.one:
        kind, name, count, batch, checkout, device = options.one
        print(measure(kind, name, int(count), int(batch), checkout, device))
        return
    head, rows = machine(), []
    for i, name in enumerate(BANDS):
        everyone = contestants(options)
        speeds: dict[str, list[float]] = {who.label: [] for who in everyone}
        for _ in range(options.repeat):
            for who in everyone:
                count = COUNTS[who.kind][i]
                speed = elsewhere(who, name, count, options.official or "", options.device)
                if speed is not None:
                    speeds[who.label].append(speed)
        rows += rows_of(name, speeds)
    facts = head | {"device": options.device, "load_at_end": list(os.getloadavg()), "rows": rows}
    card.keep("nca", facts, options.out or card.RESULTS)


if __name__ == "__main__":
    main()
