"""docs/pictures/: what the README shows of the families, made by the library from their presets.

    python docs/pictures.py            write them
    python docs/pictures.py --check    exit 1 when they differ from what would be written

`nca.svg` and `dyck.svg` move; a `FAMILY.png` each are the gallery's. The pictures of results are
made by docs/replications.py.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pptrain import create_task
from pptrain.show import arcs_svg, film_svg
from pptrain.tasks.dyck import match
from pptrain.tasks.nca import grids_of
from pptrain.views.gallery import pixels, stamp_png

ROOT = Path(__file__).resolve().parents[1]
PICTURES = "docs/pictures"
STAMPS = {"dyck": "paper_k16", "lime": "official_mixed", "nca": "paper_web_text",
          "probes": "condattendstream_8", "procedural": "paper_union_len16",
          "random_rnn": "cold_v512", "repetition": "simple_10",
          "simpler_tasks": "paper_set_100k", "summarization": "paper_step_tasks_100k"}


def nca_film() -> str:
    "The tamest of twelve worlds of the paper's preset: its cells, and the patches a model reads."
    task = create_task("nca", {"preset": "paper_web_text"})
    worlds = [task.sample(i) for i in range(12)]
    x = min(worlds, key=lambda world: world.meta["gzip_ratio"])
    grids = grids_of(x, task.config)
    across = task.config.grid_size // task.config.patch_size
    words = [word for word in x.text.split() if "/" in word]
    frames = [words[i:i + across**2] for i in range(0, len(words), across**2)]
    whole = min(len(grids), len(frames))
    return film_svg(grids[:whole], task.config.num_states, frames[:whole], across,
                    title="A random rule runs; at its side what a model reads: a word a 2×2 patch")


def dyck_arcs() -> str:
    "The beginning of a sequence of the crossing language, read token by token."
    task = create_task("dyck", {"preset": "hu_shuffle", "bracket_types": 4, "length": 32})
    types = task.config.bracket_types
    ids = task.sample(0).ids
    partners = match(ids, types, task.config.language)
    names = ["([{⟨)]}⟩"[token] for token in ids]
    return arcs_svg(list(map(int, partners)), names, [int(token) % types for token in ids],
                    title="Shuffle Dyck: each kind of bracket nests, kinds cross")


def render() -> dict[str, bytes]:
    "Every picture: {path below the root: bytes}."
    moving = {"nca": nca_film(), "dyck": dyck_arcs()}
    files = {f"{PICTURES}/{name}.svg": picture.encode() for name, picture in moving.items()}
    for family, preset in STAMPS.items():
        values, colors = pixels(create_task(family, {"preset": preset}))
        larger = values.repeat(4, axis=0).repeat(4, axis=1)
        files[f"{PICTURES}/{family}.png"] = stamp_png(larger, colors)
    return files


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    files = render()
    stale = [name for name, made in files.items()
             if not (ROOT / name).exists() or (ROOT / name).read_bytes() != made]
    if check:
        print(*[f"{name} is stale (run python docs/pictures.py)" for name in stale], sep="\n",
              end="\n" if stale else "", file=sys.stderr)
        return int(bool(stale))
    for name in stale:
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_bytes(files[name])
    print(f"{len(files)} pictures, {len(stale)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
