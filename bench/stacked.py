"""A replication notebook's study in stacks, for a GPU: seeds and arms side by side.

    python bench/stacked.py nbs/replication/r3_procedural.ipynb --out runs/r3 --device cuda
    python bench/stacked.py results/laptop/2026-11-27/plan.py:r3_text --out runs/r3_text
    python bench/stacked.py nbs/replication/r3_haystack.ipynb --out /tmp/toy --toy     # on a CPU

Runs the cells of a notebook up to the one that starts the study, takes what they define, and runs
it at `--profile`. Leaves what `pptrain report` reads."""
from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path

import torch

BEGAN = time.time()


def say(*words):
    print(f"[{time.time() - BEGAN:6.1f}]", *words, flush=True)


def defined(notebook, **parameters):
    """What the cells before the study define, with some parameters in place of the notebook's.

    `plan.py:name` is a `Replication` of that name in a file."""
    names = {}
    plan, _, name = str(notebook).partition(".py:")
    if name:
        exec(Path(f"{plan}.py").read_text(), names)
        return {"replication": names[name]}
    for cell in json.loads(Path(notebook).read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            continue
        cut = re.search(r"^(result|rows) = run", source, re.M)
        lines = (source[:cut.start()] if cut else source).splitlines()
        lines = [line for line in lines if not line.startswith("replication.task(")]
        exec("\n".join(lines), names)
        if "parameters" in cell["metadata"].get("tags", []):
            names |= parameters
        if cut:
            return names
    raise SystemExit(f"{notebook}: no cell starts a study")


def text_study(names, settings, options):
    from pptrain.study import run
    small = {}
    if settings.toy:
        small = dict(model="gpt2-1_2_16", corpus_bytes=150_000, vocab_size=384, block_size=64,
                     batch_size=4, synthetic_steps=20, text_steps=20, eval_every=5, eval_blocks=4)
    result = run(names["replication"], profile=settings.profile, seeds=settings.seeds,
                 out_dir=settings.out, stacked=options, say=say, keep_models=False, **small)
    return result.verdicts


def skill_study(names, settings, options):
    from dataclasses import asdict, replace

    from pptrain.study import judge_study, run_skill, save_results
    config = names["config"]
    if settings.toy:
        donors = {name: donor | {"steps": 10} for name, donor in config.donors.items()}
        config = replace(config, steps=20, eval_every=10, eval_rows=64, batch_size=8, donors=donors)
    seeds = settings.seeds or names["seeds"]
    if settings.device != "cpu":
        config = replace(config, together=len(seeds))
    options = {name: value for name, value in options.items() if name != "together"}
    rows = run_skill(config, settings.out, seeds, say, **options)
    save_results(settings.out, rows, names["claims"])
    return judge_study(rows, names["claims"], asdict(config), settings.profile)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--together", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so many")
    parser.add_argument("--toy", action="store_true")
    settings = parser.parse_args()
    torch.set_float32_matmul_precision("high")          # TF32 on a GPU
    options = dict(device=settings.device, workers=settings.workers, together=settings.together,
                   until=lambda: time.time() - BEGAN > settings.seconds)
    names = defined(settings.notebook, profile=settings.profile)
    study = text_study if "replication" in names else skill_study
    try:
        verdicts = study(names, settings, options)
    except TimeoutError as stopped:
        raise SystemExit(f"{stopped}; the same command goes on") from None
    shown = [c for c in ("claim", "effect", "interval", "p", "n", "verdict") if c in verdicts]
    say("\n" + verdicts[shown].to_string())


if __name__ == "__main__":
    main()
