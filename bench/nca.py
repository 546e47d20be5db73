"""How fast are automata? Ours, upstream 0.3.0 and (if it is at hand) the paper's code, measured in one run.

    python bench/nca.py --upstream-python ../upstream-venv/bin/python
    python bench/nca.py --upstream-python P --official CHECKOUT --official-python Q

Upstream needs an environment of its own (`pip install pptrain==0.3.0`), the paper's code a checkout of
danihyunlee/nca-pre-pretraining and a Python with jax and flax. Every row runs in a process of its own with one
thread; figures are work per CPU-second (median of the repetitions), which other load on the machine disturbs least.
Rows of the contestants alternate. Prints a table and writes bench/results/nca-<machine>.json.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BANDS = {"rollouts, no filter": None, "sequences, band 0.5-1.0": (0.5, 1.0), "sequences, band 0.3-0.4": (0.3, 0.4)}


def clocked(work, items: int) -> float:
    "`items` per CPU-second of `work()`."
    start = time.process_time()
    work()
    return items / (time.process_time() - start)


def ours(band, count: int, batch: int, device: str) -> float:
    "Datasets as a trainer sees them: fresh rules, tokens out, in batches of `batch`, after a warm-up."
    import torch
    from pptrain.core import create_task
    torch.set_num_threads(1)
    settings = {"complexity_probe_frames": 0} if band is None else dict(zip(("complexity_min", "complexity_max"), band))
    task = create_task("nca", preset="paper_web_text", sequence_count=10**9, **settings)
    task.device = device
    data = task.build_datasets(seed=1).train_dataset
    data.__getitems__(range(10**6, 10**6 + max(64, batch)))
    clock = time.perf_counter if device != "cpu" else time.process_time    # a GPU's work is not CPU time
    start = clock()
    for at in range(0, count, batch): data.__getitems__(range(at, at + batch))
    return -(-count // batch) * batch / (clock() - start)


def upstream(band, count: int) -> float:
    "Upstream's generator: a pool of rules in the band, one rollout and one token row per rule."
    import numpy as np
    from pptrain.tasks.nca import generator as g
    rng = np.random.default_rng(0)
    shared = dict(grid_size=12, num_states=10, rollout_stride=1, init_rollout_steps=10, identity_bias=0.0, temperature=1e-4)

    def work():
        if band is None:
            rules = [g.sample_rule(rng, 10, 16, 4) for _ in range(count)]
        else:
            rules, _ = g.generate_rule_pool(rng, rule_count=count, sequence_count=count, patch_size=2, complexity_probe_frames=10,
                                            complexity_min=band[0], complexity_max=band[1], max_rule_attempts_per_sequence=100,
                                            hidden_dim=16, perception_dim=4, **shared)
        for rule in rules:
            film = g.rollout_rule(rng, rule=rule, frame_count=27, **shared)
            tokens = g.patchify_trajectory(film, num_states=10, patch_size=2, start_token_id=10_000, end_token_id=10_001)
            g.create_training_example(tokens, max_length=1024, frame_token_length=38, min_frames=1)
    return clocked(work, count)


def official(band, count: int, checkout: str) -> float:
    "The paper's functions as shipped; arguments are given by the names that this checkout's functions take."
    import inspect
    sys.path.insert(0, checkout)
    import jax
    from utils import nca, tokenizers
    known = dict(seed=jax.random.PRNGKey(0), num_rules=count, num_sims=count, grid=12, d_state=10, n_groups=1, identity_bias=0.0,
                 temperature=1e-4, dT=1, start_step=10, num_examples=27, n_steps=10, tokenizer=tokenizers.NCA_Tokenizer(2, num_colors=10),
                 threshold=band and band[0], upper_bound=band and band[1], mode="gzip")

    def call(name, **more):
        takes = inspect.signature(getattr(nca, name)).parameters
        return getattr(nca, name)(**{k: v for k, v in (known | more).items() if k in takes})

    def work():
        rules = call("generate_rules_batch") if band else jax.random.split(known["seed"], count)
        jax.block_until_ready(call("generate_nca_dataset", rule_seeds=rules))
    return clocked(work, count)


def measure(kind: str, name: str, count: int, batch: int, checkout: str, device: str) -> float:
    band = BANDS[name]
    if kind == "upstream": return upstream(band, count)
    return official(band, count, checkout) if kind == "official" else ours(band, count, batch, device)


def elsewhere(python: str, kind: str, name: str, count: int, batch: int, env: dict, checkout: str = "", device: str = "cpu") -> float | None:
    "One measurement in a fresh process; None, with a line that says why, where it fails."
    command = [python, str(Path(__file__).resolve()), "--one", kind, name, str(count), str(batch), checkout, device]
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"} | env
    done = subprocess.run(command, capture_output=True, text=True, env=clean, cwd=ROOT if "ours" in kind else Path(python).parent)
    if done.returncode == 0: return float(done.stdout.split()[-1])
    print(f"{kind}, {name}: not measured ({(done.stderr.strip().splitlines() or ['no message'])[-1][:160]})", file=sys.stderr)
    return None


def machine() -> dict:
    "Name, processor and versions."
    import torch
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
               platform.processor()) if Path("/proc/cpuinfo").exists() else platform.processor()
    return {"machine": platform.node(), "cpu": cpu, "cores": os.cpu_count(), "load": list(os.getloadavg()), "system": platform.platform(),
            "python": platform.python_version(), "torch": torch.__version__, "simd": torch.backends.cpu.get_cpu_capability(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None, "date": time.strftime("%Y-%m-%d")}


def contestants(o: argparse.Namespace) -> list[tuple]:
    "(label, python, kind, batch, environment, work factor)."
    mine = {"PYTHONPATH": str(ROOT)}
    found = [("ours, compiled, batches of 512", sys.executable, "ours", 512, mine | {"PPTRAIN_COMPILE": "1"}),
             ("ours, compiled, batches of 32", sys.executable, "ours", 32, mine | {"PPTRAIN_COMPILE": "1"}),
             ("ours, eager, batches of 512", sys.executable, "ours", 512, mine | {"PPTRAIN_COMPILE": "0"})]
    if o.upstream_python: found.append(("upstream 0.3.0", o.upstream_python, "upstream", 1, {}))
    if o.official: found.append(("paper's code", o.official_python or sys.executable, "official", 1, {"JAX_PLATFORMS": "cpu"}))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--upstream-python", help="Python of an environment with pptrain==0.3.0")
    parser.add_argument("--official", help="checkout of the paper's code")
    parser.add_argument("--official-python", help="Python with jax and flax")
    parser.add_argument("--device", default="cpu", help="where our grids live")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: bench/results)")
    parser.add_argument("--one", nargs=6, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.one:
        kind, name, count, batch, checkout, device = o.one
        print(measure(kind, name, int(count), int(batch), checkout, device))
        return
    counts = {"ours": (4096, 2048, 1024), "upstream": (200, 100, 40), "official": (512, 512, 256)}
    everyone, rows, head = contestants(o), [], machine()
    for i, name in enumerate(BANDS):
        speeds: dict[str, list[float]] = {label: [] for label, *_ in everyone}
        for _ in range(o.repeat):
            for label, python, kind, batch, env in everyone:
                speed = elsewhere(python, kind, name, counts[kind][i], batch, env, o.official or "", o.device)
                if speed is not None: speeds[label].append(speed)
        base = statistics.median(speeds.get("upstream 0.3.0") or [float("nan")])
        for label, values in speeds.items():
            if not values: continue
            middle = statistics.median(values)
            rows.append({"what": name, "who": label, "per_cpu_second": round(middle, 1), "runs": [round(v, 1) for v in values],
                         "tokens_per_cpu_second": round(middle * 1024), "times_upstream": round(middle / base, 1)})
            print(f"{name:<26} {label:<32} {middle:>9,.1f} /CPU-s {middle * 1024 / 1e3:>9,.0f}k tok/CPU-s {middle / base:>7.1f}x upstream", flush=True)
    folder = o.out or Path(__file__).parent / "results"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"nca-{head['machine']}.json"
    path.write_text(json.dumps(head | {"device": o.device, "load_at_end": list(os.getloadavg()), "rows": rows}, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
