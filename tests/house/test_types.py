"""`py.typed` is honest: type checkers know the front names, their methods and what they return."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import pptrain

OPTIONS = ["--no-error-summary", "--ignore-missing-imports", "--follow-imports=silent",
           "--check-untyped-defs", "--warn-unreachable"]


@pytest.fixture(scope="module")
def mypy(tmp_path_factory) -> list[str]:
    "The checker, which reads torch and the rest once for all tests here."
    read = tmp_path_factory.mktemp("mypy")
    return [sys.executable, "-m", "mypy", *OPTIONS, "--cache-dir", str(read)]


def complaints(mypy: list[str], *programs: Path) -> str:
    "What mypy says about programs that use the package."
    done = subprocess.run([*mypy, *map(str, programs)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def readme_program() -> str:
    "The README's Python, one block after the other."
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S))


@pytest.mark.slow
def test_checkers_know_the_contract(mypy, tmp_path):
    readme = tmp_path / "readme_program.py"
    readme.write_text(readme_program(), encoding="utf-8")
    said = complaints(mypy, readme, ROOT / "tests/house/program_contract.py")
    assert not said, f"\n{said}"


@pytest.mark.slow
def test_checkers_see_a_wrong_program(mypy, tmp_path):
    "The test above can fail: misspelt names, methods and arguments are seen."
    program = tmp_path / "wrong.py"
    program.write_text("from pptrain import PrePreTrainer, create_task, creat_task\n"
                       "task = create_task(3)\n"
                       "task.sampel(0)\n"
                       "PrePreTrainer.fitt\n"
                       "task.sample(0).txt\n")
    said = complaints(mypy, program)
    for wrong in ("creat_task", "arg-type", "sampel", "fitt", "txt"):
        assert wrong in said, f"{wrong!r} went unseen:\n{said}"


def test_the_front_is_small_and_listed_once():
    names = pptrain.__all__
    assert len(names) == len(set(names)) <= 40
    source = (ROOT / "pptrain/__init__.py").read_text(encoding="utf-8")
    typed = re.findall(r"^    from \.([\w.]+) import (\w+) as \2$", source, re.M)
    assert {name for _, name in typed} == set(names), "the typed list and the table name the same"
    for room, name in typed:
        assert pptrain._HOME[name] == room
        assert getattr(pptrain, name).__name__ == name


def test_the_front_of_the_study_is_listed_once():
    "Its names load late too: those of the type checkers and of Python are the same."
    import pptrain.study as study
    source = (ROOT / "pptrain/study/__init__.py").read_text(encoding="utf-8")
    typed = re.findall(r"^    from (\.+)([\w.]+) import (\w+) as \3$", source, re.M)
    assert len(typed) == len(set(study.__all__)) == len(study.__all__)
    for dots, room, name in typed:
        parent = "pptrain.study" if dots == "." else "pptrain"
        assert study._HOME[name] == f"{parent}.{room}"
        assert getattr(study, name) is getattr(sys.modules[f"{parent}.{room}"], name)
        assert name in dir(study)


def test_methods_stand_in_their_classes():
    "Tracebacks, profiles and pydoc call a method by its name."
    from pptrain import PrePreTrainer, Task, TransferBundle, TransferPolicy
    methods = (PrePreTrainer.fit, Task.sample, TransferBundle.save, TransferPolicy.apply_bundle)
    for method in methods:
        owner, name = method.__qualname__.split(".")
        assert name == method.__name__ and not name.startswith("_")
    assert PrePreTrainer.fit.__qualname__ == "PrePreTrainer.fit"
