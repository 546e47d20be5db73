"""Is a killed run the same run? `kill -9` at random moments, then the same command until it ends.

    python bench/faults.py                    # 20 kills of `pptrain fit` with text stages
    python bench/faults.py --job grid         # 20 kills of `pptrain replicate --test`
    python bench/faults.py --job small-grid   # the same grid with a handful of steps
    python bench/faults.py --kills 3 --out x.json

A job is run once undisturbed; each checkpoint and record that appears is a mark. Then, for each
kill, it starts in a new folder; from a random mark on, a random part of the time to the next one
passes (so the load of the machine moves no kill far), and SIGKILL comes: for even numbers to the
whole process group, for odd ones to the driver alone, its children left behind.
The same command follows at once, until it ends with status 0. Its results must be those of the
undisturbed run: for `fit` the hash of the weights, every history and `comparison.json`; for the
grid the rows and claims. Prints a table and writes bench/results/faults-<machine>.json after every
kill; what that file has is not repeated.
"""
from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import card

ROOT = Path(__file__).resolve().parents[1]
MAIN = "import sys; from pptrain.cli import main; sys.exit(main())"
SMALL_GRID = """
from pptrain.grid import RunSpec, replications, run_grid
from pptrain.study.report import write_report

sizes = dict(profile="test", seeds=[1], synthetic_steps=20, text_steps=40, model="gpt2-1_2_16")
run_grid([RunSpec("procedural", replications()["procedural"], sizes)], "grid")
write_report("grid")
"""
MOST_STARTS = 5     # of one command after a kill
MOST_SECONDS = 600  # of one start

RECIPE = """
task: {name: procedural, config: {preset: smoke}}
model: {model_name_or_path: gpt2-1_2_16, config_overrides: {n_positions: 64}}   # with dropout
run: {output_dir: run, max_steps: 100, save_steps: 10, logging_steps: 5,
      dataloader_num_workers: 1}
"""
TEXT = """
{corpus: docs, max_bytes: 150000, vocab_size: 384, max_length: 64, batch_size: 4, train_steps: 60,
 eval_every: 10, eval_blocks: 8}
"""


@dataclass
class Job:
    "A command, when its work has begun, and the files that it leaves."
    name: str
    command: tuple[str, ...]
    results: tuple[str, ...]
    program: str = MAIN

    def prepare(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "fit.yaml").write_text(RECIPE)
        (folder / "text.yaml").write_text(TEXT)

    def start(self, folder: Path) -> subprocess.Popen:
        "The job in a process group of its own; what it says goes to a file."
        env = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with open(folder / "said.txt", "ab") as said:
            return subprocess.Popen([sys.executable, "-c", self.program, *self.command], cwd=folder,
                                    env=env, stdout=said, stderr=said, start_new_session=True)

    def outcome(self, folder: Path) -> dict[str, str]:
        "sha256 of each result; of a run, of its weights."
        found = {}
        for pattern in self.results:
            for path in sorted(folder.glob(pattern)):
                facts = hashlib.sha256(path.read_bytes()).hexdigest()
                if path.name == "summary.json":
                    facts = json.loads(path.read_text())["metrics"]["weights_sha256"]
                found[path.relative_to(folder).as_posix()] = facts
        return found


FIT = ("fit", "fit.yaml", "--eval-config", "text.yaml")
GRID = ("replicate", "--test", "--family", "procedural", "--output-dir", "grid")
TABLES = ("grid/results.csv", "grid/claims.csv")
JOBS = {
    "fit": Job("fit", FIT, ("run/summary.json", "run/**/history.csv", "run/eval/comparison.json")),
    "grid": Job("grid", GRID, TABLES),
    "small-grid": Job("small-grid", (), TABLES, SMALL_GRID)}


MARKS = ("checkpoint-*", "manifest.json", "run.json", "summary.json", "comparison.json",
         "rows.csv", "scratch-*.json")

def marks(folder: Path) -> set[Path]:
    "The checkpoints and records that there are."
    there: set[Path] = set()
    for name in MARKS:
        with contextlib.suppress(OSError):       # a checkpoint that is just being removed
            there |= set(folder.rglob(name))
    return there


def watched(process: subprocess.Popen, folder: Path, count: float) -> list[float]:
    "Waits until `count` marks were seen or the process has ended; when each of them appeared."
    seen: set[Path] = set()
    times: list[float] = []
    end = time.monotonic() + MOST_SECONDS
    while len(times) < count and process.poll() is None:
        new = marks(folder) - seen
        seen |= new
        times += [time.monotonic()] * len(new)
        if time.monotonic() > end:
            raise SystemExit("the job does not get on; see said.txt in its folder")
        time.sleep(0.02)
    return times


def finish(job: Job, folder: Path) -> tuple[int, int]:
    "Starts the job until it ends well; exit status of the last start, and how many it took."
    status, starts = -1, 0
    while status and starts < MOST_STARTS:
        status = job.start(folder).wait(MOST_SECONDS)
        starts += 1
    return status, starts


def undisturbed(job: Job, folder: Path) -> dict:
    "Seconds from each mark to the next, and the outcome."
    job.prepare(folder)
    process = job.start(folder)
    times = watched(process, folder, float("inf"))
    if process.wait():
        raise SystemExit((folder / "said.txt").read_text(errors="replace")[-2000:])
    ends = [*times[1:], time.monotonic()]
    gaps = [round(end - begin, 3) for begin, end in zip(times, ends)]
    return {"seconds_after_mark": gaps, "outcome": job.outcome(folder)}


def newest(folder: Path) -> str:
    "The checkpoint or record that was written last: where the kill fell."
    last = max(marks(folder), key=lambda path: path.stat().st_mtime_ns)
    return last.relative_to(folder).as_posix()


def one_kill(job: Job, folder: Path, number: int, truth: dict, seed: int) -> dict:
    "The row of one kill."
    draw = random.Random(f"{seed} {job.name} {number}")
    gaps = truth["seconds_after_mark"]
    mark = draw.randrange(len(gaps))
    moment = draw.uniform(0, gaps[mark])
    whole_group = number % 2 == 0
    job.prepare(folder)
    begin = time.monotonic()
    process = job.start(folder)
    watched(process, folder, mark + 1)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    ended_before = process.poll() is not None
    if whole_group:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    after = newest(folder)
    status, starts = finish(job, folder)
    same = job.outcome(folder) == truth["outcome"]
    said = (folder / "said.txt").read_text(errors="replace").splitlines()
    went_on = [line for line in said if "goes on from" in line]
    return {"kill": number, "whom": "group" if whole_group else "driver",
            "mark": mark, "later": round(moment, 3), "ended_before": ended_before, "after": after,
            "went_on": went_on, "starts": starts, "status": status, "same": same,
            "seconds": round(time.monotonic() - begin, 1)}


def machine() -> dict:
    "What the figures were taken on."
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True,
                            capture_output=True).stdout.strip()
    return card.machine() | {"commit": commit}


def table(rows: list[dict]) -> str:
    lines = ["kill whom    mark  later starts same  written last"]
    for row in rows:
        when = f"{row['mark']:4} {row['later']:6.2f}"
        same = "yes" if row["same"] else "NO"
        lines.append(f"{row['kill']:4} {row['whom']:<7} {when} {row['starts']:6} {same:<5} "
                     f"{row['after']}")
    good = sum(row["same"] and row["status"] == 0 for row in rows)
    return "\n".join([*lines, f"{good} of {len(rows)} end like the undisturbed run"])


def run(job: Job, kills: int, seed: int, out: Path, place: Path) -> list[dict]:
    "All kills of a job; the file is written after each."
    book = json.loads(out.read_text()) if out.exists() else {}
    page = book.get(job.name, {})
    if page.get("seed") != seed:
        page = {"seed": seed, "about": machine(), "command": " ".join(job.command),
                "undisturbed": undisturbed(job, place / "undisturbed"), "rows": []}
    done = {row["kill"] for row in page["rows"]}
    for number in range(kills):
        if number in done:
            continue
        row = one_kill(job, place / f"kill-{number}", number, page["undisturbed"], seed)
        page["rows"].append(row)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(book | {job.name: page}, indent=1) + "\n")
        print(table([row]).splitlines()[1], flush=True)
    return page["rows"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--job", choices=list(JOBS), default="fit")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path,
                        default=ROOT / "bench" / "results" / f"faults-{platform.node()}.json")
    parser.add_argument("--keep", type=Path, help="Folder for the runs; a temporary one otherwise.")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        place = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rows = run(JOBS[asked.job], asked.kills, asked.seed, asked.out.resolve(), place.resolve())
    print(table(rows))
    return int(not all(row["same"] and row["status"] == 0 for row in rows))


if __name__ == "__main__":
    sys.exit(main())
