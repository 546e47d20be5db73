"""Executes chapters in place and keeps of their outputs what is small and shows everywhere.

    python docs/chapters.py                        every chapter under nbs/ but the replications
    python docs/chapters.py nbs/01_vocab.ipynb     these
    python docs/chapters.py --fast                 leave `#| slow` cells and their outputs alone

Text, HTML, SVG and PNG stay. Plotly JSON, widget views and their state, stderr, execution counts
and this machine's paths go. A notebook whose outputs would exceed 150 KB is refused and left as it
was. Cell ids never change.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbdev.clean import clean_nb

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 150_000  # bytes of stored outputs per notebook
LIVE = re.compile(r"application/(vnd\.plotly|vnd\.jupyter\.widget|javascript)")
NOT_RUN = re.compile(r"nbdev_export\(|^#\|\s*eval:\s*false\b", re.M)  # as nbdev_test does
SLOW = re.compile(r"^#\|\s*(slow|gpu)\b", re.M)


def stored_bytes(cells: list[dict]) -> int:
    "How large the outputs of `cells` are."
    outputs = [cell["outputs"] for cell in cells if cell.get("outputs")]
    return sum(len(json.dumps(o, ensure_ascii=False).encode()) for o in outputs)


def is_live(mimetype: str) -> bool:
    "Does this representation need a kernel or a script to be seen?"
    return bool(LIVE.match(mimetype))


def impersonal(text: str) -> str:
    "`text` without this machine's folders and without object addresses."
    for folder, name in ((f"{ROOT}{os.sep}", ""), (str(ROOT), "."), (sys.prefix, "venv")):
        text = text.replace(folder, name)
    text = re.sub(rf"(?:/private)?{re.escape(tempfile.gettempdir())}/[\w.-]+", "/tmp/…", text)
    text = re.sub(rf"{re.escape(str(Path.home()))}(?=/)", "~", text)
    return re.sub(r"\b0x[0-9a-f]{8,}", "0x…", text)


def keep(output: dict) -> dict | None:
    "`output` as it is stored, or None when nothing of it should be."
    kind = output["output_type"]
    if kind == "stream":
        output["text"] = impersonal(output["text"])
        return output if output["name"] == "stdout" else None
    if kind == "error":  # its last line says it; the rest is this machine's
        output["traceback"] = [impersonal(line) for line in output["traceback"][-1:]]
        return output
    data = output["data"]
    live = [mimetype for mimetype in data if is_live(mimetype)]
    for mimetype in live:
        del data[mimetype]
        output["metadata"].pop(mimetype, None)
    if live and set(data) <= {"text/plain"}:
        return None  # "FigureWidget({…": a repr that shows nothing
    data.update({m: impersonal(value) for m, value in data.items() if m.startswith("text/")})
    return output


def tidy(nb: nbformat.NotebookNode) -> None:
    "Strips `nb` to what is stored."
    nb.metadata.pop("widgets", None)
    for cell in nb.cells:
        if outputs := cell.get("outputs"):
            cell.outputs = [o for o in map(keep, outputs) if o is not None]
            if not cell.outputs:
                print(f"  note: nothing is stored of what cell {cell.id} showed")


class Chapter(NotebookClient):
    "A notebook run as its reader would, except for the cells that match a pattern of `skip`."
    skip: tuple[re.Pattern, ...] = ()

    async def async_execute_cell(self, cell, cell_index, *args, **kwargs):
        if any(pattern.search(cell.source) for pattern in self.skip):
            return cell
        return await super().async_execute_cell(cell, cell_index, *args, **kwargs)


def run(path: Path, fast: bool = False, timeout: int = 1800) -> None:
    "Executes the notebook at `path` in place; raises ValueError when its outputs are too large."
    nb = nbformat.read(path, as_version=4)
    client = Chapter(nb, timeout=timeout, kernel_name="python3", store_widget_state=False,
                     record_timing=False, resources={"metadata": {"path": str(path.parent)}})
    client.skip = (NOT_RUN, SLOW) if fast else (NOT_RUN,)
    client.execute()
    tidy(nb)
    if (size := stored_bytes(nb.cells)) > LIMIT:
        heavy = sorted(nb.cells, key=lambda c: -stored_bytes([c]))[:3]
        cells = ", ".join(f"{c.id}: {stored_bytes([c]) // 1000} KB" for c in heavy)
        raise ValueError(f"{size // 1000} KB of outputs, at most {LIMIT // 1000} are kept; "
                         f"largest: {cells}")
    write(nb, path.resolve())


def write(nb: nbformat.NotebookNode, path: Path) -> None:
    "Replaces `path` in one step, byte for byte as nbdev_clean would leave it."
    plain = json.loads(nbformat.writes(nb))
    clean_nb(plain, allowed_cell_metadata_keys=["tags"])
    fresh = path.with_name(f".{path.name}.new")
    text = json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False)
    fresh.write_text(text + "\n", encoding="utf-8")
    os.replace(fresh, path)


def chapters() -> list[Path]:
    "All notebooks under nbs/ but the replications and those that open with `skip_exec: true`."
    nbs = ROOT / "nbs"
    left_out = re.compile(r"(^|/)([._]|replication/)")
    notebooks = sorted(nbs.rglob("*.ipynb"))
    ours = [p for p in notebooks if not left_out.search(p.relative_to(nbs).as_posix())]
    return [p for p in ours if "skip_exec: true" not in p.read_text(encoding="utf-8")]


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all chapters")
    parser.add_argument("--fast", action="store_true",
                        help="do not run `#| slow` cells; their outputs stay")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds that one cell may take")
    args = parser.parse_args()
    failed = 0
    for path in args.notebooks or chapters():
        start = time.time()
        print(path, flush=True)
        try:
            run(path.absolute(), args.fast, args.timeout)
        except (CellExecutionError, ValueError, RuntimeError, TimeoutError) as error:
            failed += 1
            print(f"  refused, left as it was: {error}", file=sys.stderr)
        else:
            print(f"  {time.time() - start:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
