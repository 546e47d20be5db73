"""Imports point down, families never meet, heavy libraries load late, `import pptrain` is cheap."""
from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

# the house from the ground up: a room may import its own modules and every room on a lower floor
FLOORS = [
    {"errors"},
    {"files"},
    {"registers", "vocab", "config", "yaml12", "processes"},
    {"show", "parity", "executors"},
    {"data"},
    {"core"},
    {"tasks"},
    {"integrations"},
    {"corpora"},
    {"transfer"},
    {"generate"},
    {"measure"},
    {"runs"},
    {"study"},
    {"eval", "grid"},
    {"views"},
    {"widgets"},
    {"cli"},
]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}

# third-party library -> the lowest room that may load it at import;
# rooms below do so inside functions
LIBRARIES = {
    "numpy": "errors", "tqdm": "errors", "yaml": "errors",
    "pydantic": "integrations", "torch": "integrations", "transformers": "integrations",
    "tokenizers": "integrations", "safetensors": "integrations", "datasets": "integrations",
    "huggingface_hub": "integrations", "accelerate": "integrations",
    "scipy": "study", "pandas": "study", "papermill": "study", "nbclient": "study",
    "nbconvert": "study", "nbformat": "study", "psutil": "study",
    "plotly": "views", "PIL": "views", "matplotlib": "views", "IPython": "views",
    "ipywidgets": "views", "anywidget": "views", "traitlets": "views",
    "typer": "cli", "click": "cli",
}
A_ROLLOUT_IS_A_NETWORK = ("tasks.nca.", "torch")
NEVER = {"fastcore", "nbdev", "execnb", "ghapi"}  # authoring tools, pinned to old releases
FRONTS = {"", "_modidx"}                          # written for people, or by nbdev


def module_name(path: Path) -> str:
    "pptrain/tasks/dyck/look.py -> tasks.dyck.look; pptrain/__init__.py -> ''."
    parts = path.relative_to(ROOT / "pptrain").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(p): p for p in sorted((ROOT / "pptrain").rglob("*.py"))
           if "notebooks" not in p.parts}
LAYERED = sorted(MODULES.keys() - FRONTS)


def room(module: str) -> str:
    return module.split(".")[0]


def family(module: str) -> str | None:
    "The family that `module` belongs to, if any: families are packages, shared parts are not."
    parts = module.split(".")
    if parts[0] != "tasks" or len(parts) == 1:
        return None
    is_package = MODULES[".".join(parts[:2])].name == "__init__.py"
    return parts[1] if is_package else None


def imports(module: str) -> Iterator[tuple[int, str, bool]]:
    """(line, absolute dotted name, runs at import) of every import in `module`.

    `from a import b` gives a.b."""
    package = ["pptrain", *module.split(".")]
    if MODULES[module].name != "__init__.py":
        package.pop()

    def visit(node: ast.AST, at_import: bool) -> Iterator[tuple[int, str, bool]]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, at_import
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) + 1 - node.level] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name]), at_import
        later = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_import and not later and not typing_only)

    yield from visit(ast.parse(MODULES[module].read_text(encoding="utf-8")), True)


def inner(name: str) -> str | None:
    "The pptrain module that a dotted `name` names or lies in, '' for the package, None for others."
    if name.split(".")[0] != "pptrain":
        return None
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in MODULES:
        parts.pop()
    return ".".join(parts)


def complaint(module: str, target: str) -> str | None:
    "Why `module` may not import the pptrain module `target`; None where it may."
    if target == module:
        return "itself"
    if target == "_modidx":
        return "nbdev's index"
    if target == "":
        return None if room(module) == "cli" else "the front door; import the room that defines it"
    if room(target) not in FLOOR:
        return f"{room(target)}, which has no floor"
    if room(target) == "tasks":
        if room(module) != "tasks" and target != "tasks":
            return "a family; only tasks name families"
        if family(module) and family(target) and family(module) != family(target):
            return "another family"
    if room(target) != room(module) and FLOOR[room(target)] >= FLOOR[room(module)]:
        return f"a room on floor {FLOOR[room(target)]} from floor {FLOOR[room(module)]}"
    return None


def library_complaint(module: str, library: str, at_import: bool) -> str | None:
    "Why `module` may not import the third-party `library` there; None where it may."
    if library in NEVER:
        return "an authoring tool; those stay out of the package"
    if not at_import or library in sys.stdlib_module_names:
        return None
    prefix, allowed = A_ROLLOUT_IS_A_NETWORK
    if module.startswith(prefix) and library == allowed:
        return None
    if library not in LIBRARIES:
        return "a library that tests/test_layers.py and settings.ini do not know"
    if FLOOR[room(module)] < FLOOR[LIBRARIES[library]]:
        return f"a library that rooms below {LIBRARIES[library]} load inside functions"
    return None


def violations(module: str) -> Iterator[str]:
    "One sentence per import of `module` that the tables do not allow."
    for line, name, at_import in imports(module):
        target = inner(name)
        if target is None:
            why = library_complaint(module, name.split(".")[0], at_import)
        else:
            why = complaint(module, target)
        if why:
            place = MODULES[module].relative_to(ROOT)
            yield f"{place}:{line} imports {name}: {why}"


def test_every_room_has_a_floor():
    homeless = sorted({room(m) for m in LAYERED} - FLOOR.keys())
    assert not homeless, f"put these rooms into FLOORS of tests/test_layers.py: {homeless}"


@pytest.mark.parametrize("module", LAYERED)
def test_imports_point_down(module):
    if room(module) not in FLOOR:
        pytest.skip("no floor yet")
    found = list(violations(module))
    assert not found, "\n" + "\n".join(found)


def loaded_by(statement: str) -> set[str]:
    "Top-level names in sys.modules after `statement` in a fresh interpreter that runs elsewhere."
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"{statement} failed:\n{done.stderr}"
    return {name.split(".")[0] for name in done.stdout.split()}


LIGHT = ["", "vocab", "data", "config", "core", "show", "parity", "tasks.dyck", "tasks.procedural",
         "tasks.simpler_tasks", "tasks.lime", "tasks.summarization", "tasks.nca", "tasks.probes",
         "tasks.random_rnn", "tasks.repetition", "study", "study.grid", "grid"]
HEAVY = {"torch", "transformers", "plotly", "matplotlib", "pandas", "datasets", "numba",
         "llvmlite"} | NEVER


@pytest.mark.parametrize("module", LIGHT, ids=lambda m: m or "pptrain")
def test_light_import(module):
    loaded = loaded_by(f"import pptrain{'.' * bool(module)}{module}")
    heavy = sorted(loaded & HEAVY)
    assert not heavy, f"import pptrain.{module} loads {heavy}"


def test_no_module_loads_authoring_tools():
    public = [f"pptrain.{m}" if m else "pptrain" for m in MODULES if m != "_modidx"]
    loaded = loaded_by("import " + ", ".join(public))
    assert not loaded & NEVER, f"importing the package loads {sorted(loaded & NEVER)}"
