"""Servers and a browser on this machine, started and stopped here; nothing leaves loopback."""
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
from looked import CHROMIUM, FLAGS

SHOTS = Path(os.environ.get("PPTRAIN_SHOTS", "runs/shots")).absolute()
HOME = ("http://127.0.0.1", "data:", "blob:", "file:")    # addresses that stay on this machine
TOKEN = "only-for-this-test"
WAIT = 90_000    # ms until a kernel has imported what it needs
NEEDS = "pip install jupyterlab voila playwright for the browser tests"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def write_notebook(path: Path, *cells: str) -> Path:
    "A notebook of code cells."
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb.metadata["kernelspec"] = kernel
    nbformat.write(nb, path)
    return path


class Server:
    "A child process that serves `url` once it is ready, and is stopped with its kernels."

    def __init__(self, command: list[str], url: str, folder: Path):
        own = {f"JUPYTER_{kind}_DIR": str(folder / kind.lower())
               for kind in ("CONFIG", "DATA", "RUNTIME")}
        env = os.environ | own | {"IPYTHONDIR": str(folder / "ipython"), "HF_HUB_OFFLINE": "1"}
        self.log = (folder / "server.log").open("w")
        self.process = subprocess.Popen([sys.executable, "-m", *command], stdout=self.log,
                                        stderr=self.log, cwd=folder, env=env)
        self.url = url
        for _ in range(240):
            try:
                socket.create_connection(("127.0.0.1", int(urlsplit(url).port)), 2).close()
                return
            except OSError:
                time.sleep(.25)
                if self.process.poll() is not None: break
        self.stop()
        log = (folder / "server.log").read_text()[-3000:]
        raise RuntimeError(f"{command[0]} did not start:\n{log}")

    def stop(self):
        self.process.terminate()
        try: self.process.wait(20)
        except subprocess.TimeoutExpired: self.process.kill()
        self.log.close()


@pytest.fixture(scope="session")
def browser():
    "Headless Chromium; tests are skipped, with a reason, where there is none."
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH (Debian: apt install chromium) to look at the pages")
    sync_api = pytest.importorskip("playwright.sync_api", reason=NEEDS)
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser, request):
    "A fresh tab that remembers errors and requests to other machines; leaves a picture."
    scheme = getattr(request, "param", "light")
    context = browser.new_context(viewport={"width": 1360, "height": 950}, color_scheme=scheme)
    page = context.new_page()
    page.wrongs, page.strangers = [], []
    page.on("pageerror", lambda e: page.wrongs.append(str(e)))
    page.on("console", lambda m: page.wrongs.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: None if r.url.startswith(HOME) else page.strangers.append(r.url))
    yield page
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{request.node.name.replace('/', '-')}.png")
    context.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    "JupyterLab over a folder; `lab.folder` is where notebooks go."
    pytest.importorskip("jupyterlab", reason=NEEDS)
    folder, port = tmp_path_factory.mktemp("lab"), free_port()
    settings = folder / "settings"
    quiet = settings / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    quiet.with_name("themes.jupyterlab-settings").write_text('{"adaptive-theme": true}')
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
               f"--IdentityProvider.token={TOKEN}", "--ServerApp.root_dir=.",
               "--LabApp.news_url=", f"--LabApp.user_settings_dir={settings}",
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    url = f"http://127.0.0.1:{port}/lab?token={TOKEN}"
    server = Server(["jupyterlab", *options], url, folder)
    server.folder, server.base = folder, f"http://127.0.0.1:{port}"
    yield server
    server.stop()


def open_in_lab(tab, lab, name: str, *cells: str, shown: str = ".pp-explorer[data-version]"):
    "A notebook of `cells`, opened in JupyterLab and run until what `shown` selects is there."
    from playwright.sync_api import TimeoutError
    write_notebook(lab.folder / f"{name}.ipynb", *cells)
    tab.goto(f"{lab.base}/lab/tree/{name}.ipynb?token={TOKEN}&reset")
    tab.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=WAIT)
    tab.get_by_text("| Idle").wait_for(timeout=WAIT)
    for _ in range(3):      # a click before the kernel listens is lost
        tab.get_by_role("menuitem", name="Run", exact=True).click()
        tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        try: return tab.locator(shown).first.wait_for(timeout=WAIT / 3)
        except TimeoutError: continue
    raise AssertionError("the cell did not run")


@pytest.fixture(scope="session")
def explore_command(tmp_path_factory):
    "`pptrain explore FAMILY --no-browser`: gives the address it prints; stopped with Ctrl-C."
    started = []

    def serve(*arguments: str) -> str:
        start = [sys.executable, "-c", "from pptrain.cli import main; raise SystemExit(main())"]
        folder = tmp_path_factory.mktemp("explore")
        command = [*start, "explore", *arguments, "--no-browser"]
        child = subprocess.Popen(command, text=True, cwd=folder,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(child)
        line = child.stdout.readline()
        assert line.startswith("explorer at http://127.0.0.1:"), line + child.stderr.read()
        return line.split()[-1]
    serve.children = started
    yield serve
    for child in started:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            child.wait(40)


@pytest.fixture(scope="session")
def voila(tmp_path_factory):
    "Starts Voilà on a notebook; all of them are stopped at the end."
    pytest.importorskip("voila", reason=NEEDS)
    started = []

    def serve(*cells: str) -> str:
        folder, port = tmp_path_factory.mktemp("voila"), free_port()
        book = write_notebook(folder / "page.ipynb", *cells)
        url = f"http://127.0.0.1:{port}/"
        options = ["--no-browser", "--Voila.ip=127.0.0.1", f"--port={port}"]
        started.append(Server(["voila", str(book), *options], url, folder))
        return url
    yield serve
    for server in started: server.stop()
