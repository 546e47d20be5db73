"""The machine that figures were taken on, and the page of figures."""
from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    "Name, cores, load and versions; torch is imported here, where it is not yet."
    import torch
    return {"machine": platform.node(), "cores": os.cpu_count(), "load": list(os.getloadavg()),
            "system": platform.platform(), "python": platform.python_version(),
            "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}


def keep(name: str, facts: dict[str, Any], folder: Path = RESULTS) -> Path:
    "`facts` as `folder/NAME-MACHINE.json`; says where."
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{platform.node()}.json"
    path.write_text(json.dumps(facts, indent=1) + "\n")
    print(path)
    return path
