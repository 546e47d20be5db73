"""Names and prints that a terminal or a tool might trip over: they end no run."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_notebook

from pptrain.errors import InputError
from pptrain.grid import RunSpec, run_grid

LOCALE_VARIABLES = {"LANG", "LC_ALL", "LC_CTYPE", "PYTHONIOENCODING", "PYTHONUTF8"}
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
GRID = """
import sys
from pptrain.grid import RunSpec, run_grid
run_grid([RunSpec("odd{0}", sys.argv[1], {"word": "gr\\u00f6\\u00dfer {n}"})], sys.argv[2])
"""


def notebook(path: Path) -> Path:
    "It prints what ASCII lacks, on both streams, a half of a sign included."
    cells = [
        new_code_cell("word, out_dir = '', '.'", metadata={"tags": ["parameters"]}),
        new_code_cell("import sys\nprint('loss → 2.3 ✓ 模型 😀', word)\n"
                      "print('größer', file=sys.stderr)"),
        new_code_cell("print('\\ud83d')"),
        new_code_cell("open(out_dir + '/rows.csv', 'w').write('value\\n→ ' + word)"),
    ]
    path.parent.mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


def in_locale(extra: dict[str, str], *command: str, cwd: Path) -> subprocess.CompletedProcess:
    kept = {k: v for k, v in os.environ.items() if k not in LOCALE_VARIABLES}
    env = kept | {"PYTHONPATH": str(ROOT)} | extra
    return subprocess.run([sys.executable, *command], capture_output=True, env=env, cwd=cwd,
                          timeout=170)


@pytest.mark.parametrize("locale", [ASCII, {"LC_ALL": "C.UTF-8"}], ids=["ascii", "utf-8"])
def test_a_grid_with_braces_in_its_names_prints_anything(tmp_path, locale):
    source = notebook(tmp_path / "{books}" / "no{n}e {}.ipynb")
    done = in_locale(locale, "-c", GRID, str(source), "g{6} }{word}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert (b"\\u2192" if locale is ASCII else "→".encode()) in done.stdout
    [run] = json.loads((tmp_path / "g{6} }{word}/manifest.json").read_text("utf-8"))["runs"]
    assert (run["status"], run["error"]) == ("done", None)
    [half] = [cell for cell in nbformat.read(tmp_path / "g{6} }{word}" / run["notebook"], 4).cells
              if "ud83d" in cell.source]
    assert half.outputs[0].text == "?\n"
    written = tmp_path / "g{6} }{word}/runs" / run["id"] / "rows.csv"
    assert written.read_text("utf-8") == "value\n→ größer {n}"


def test_a_parameter_without_a_plain_value_is_refused_by_its_name(tmp_path):
    source = notebook(tmp_path / "books" / "one.ipynb")
    with pytest.raises(InputError, match="word"):
        run_grid([RunSpec("odd", str(source), {"word": {3}})], tmp_path / "grid")
    assert not (tmp_path / "grid").exists()


def test_numbers_of_numpy_are_numbers(tmp_path):
    source = notebook(tmp_path / "books" / "one.ipynb")
    given = RunSpec("odd", str(source), {"word": np.int64(3)})
    assert given.parameters == {"word": 3} and type(given.parameters["word"]) is int
    assert given == RunSpec("odd", str(source), {"word": 3})


def test_a_name_that_cannot_be_a_file_is_refused_by_name(tmp_path):
    code = "from pptrain import RunConfig; RunConfig('gr\\u00f6\\u00dfer')"
    refused = in_locale(ASCII, "-c", code, cwd=tmp_path)
    last = refused.stderr.decode().splitlines()[-1]
    assert "InputError: output_dir='gr\\xf6\\xdfer'" in last and "PYTHONUTF8=1" in last
    assert list(tmp_path.iterdir()) == []
    config = tmp_path / "run.yaml"
    config.write_text("task: {name: dyck, config: {preset: smoke}}\n"
                      "model: {model_name_or_path: gpt2}\n"
                      "run: {output_dir: größer, max_steps: 1}\n", "utf-8")
    main = "import sys; from pptrain.cli import main; sys.exit(main())"
    refused = in_locale(ASCII, "-c", main, "fit", str(config), cwd=tmp_path)
    errors = [x for x in refused.stderr.decode().splitlines() if x.startswith("error:")]
    assert refused.returncode == 2 and len(errors) == 1 and "output_dir" in errors[0]
    assert [p.name for p in tmp_path.iterdir()] == ["run.yaml"]
