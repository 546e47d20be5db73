"""Every page of a folder in headless Chromium, as wide as a phone, in both themes.

    python docs/looked.py [_docs/html] [NAME...]     pages whose path holds one of these words

Odd is what a reader would stumble over: a page wider than the screen, a picture that is missing,
an error on the console, a request that fails or leaves this machine, letters too pale to read.
"""
from __future__ import annotations

import functools
import http.server
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

BROWSERS = [os.environ.get("PPTRAIN_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
CHROMIUM = next((path for path in map(shutil.which, filter(None, BROWSERS)) if path), None)
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
         "--disable-background-networking", "--disable-sync", "--no-first-run"]
WAIT = 180_000      # ms for one page, on a machine that is busy with other things
PHONE = {"width": 390, "height": 844}
MISSING = """[...document.images].filter((i) => i.complete && !i.naturalWidth && i.src)
    .map((i) => "no picture " + i.src.slice(0, 80))"""
PALE = """() => {                                     // contrast below 3 : 1
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 10.3 ? v / 3294.6 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b) + .05;
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const look = getComputedStyle(at), color = numbers(look.backgroundColor);
      if (look.backgroundImage !== "none") return null;
      if (color.length < 4 || color[3] > .9) return color;
    }
    return [255, 255, 255];
  };
  const found = new Set(), words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const element = words.currentNode.parentElement, text = words.currentNode.data.trim();
    if (!text || element.closest("svg, script, style, noscript")) continue;
    const look = getComputedStyle(element);
    if (look.visibility === "hidden" || !element.getClientRects().length) continue;
    const below = ground(element), pair = below && [light(numbers(look.color)), light(below)];
    if (pair && Math.max(...pair) < 3 * Math.min(...pair)) found.add("pale: " + text.slice(0, 40));
  }
  return [...found];
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    "The address of `folder` on this machine."
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def stumbles(tab, address: str) -> list[str]:
    "What is odd about the page at `address`."
    found: list[str] = []
    home = (address.partition("/")[0] + "//" + address.split("/")[2], "data:", "blob:")
    tab.on("pageerror", lambda e: found.append(f"error: {e}"))
    tab.on("console", lambda m: found.append(f"console: {m.text}") if m.type == "error" else None)
    tab.on("requestfailed", lambda r: found.append(f"failed: {r.url}"))
    tab.on("request", lambda r: None if r.url.startswith(home) else found.append(f"asks {r.url}"))
    tab.emulate_media(color_scheme="light")
    tab.goto(address, timeout=WAIT)
    tab.wait_for_timeout(150)
    wide = tab.evaluate("document.scrollingElement.scrollWidth")
    if wide > PHONE["width"]: found.append(f"{wide} pixels wide")
    found += tab.evaluate(MISSING) + tab.evaluate(PALE)
    tab.emulate_media(color_scheme="dark")
    tab.wait_for_timeout(80)
    return found + [f"dark, {what}" for what in tab.evaluate(PALE)]


def oddities(site: Path, words: list[str] | None = None) -> list[str]:
    """Of every page below `site`, or of those with one of `words` in their path: page and stumble.

    In a thread of its own: playwright refuses one in which an event loop runs."""
    with ThreadPoolExecutor(1) as pool: return pool.submit(looked_through, site, words).result()


def looked_through(site: Path, words: list[str] | None) -> list[str]:
    "`oddities`, in this thread."
    from playwright.sync_api import sync_playwright
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    chosen = [page for page in pages if not words or any(word in page for word in words)]
    found = []
    with served(site) as home, sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = chromium.new_context(viewport=PHONE)
        for page in chosen:
            tab = context.new_page()
            found += [f"{page}: {what}" for what in stumbles(tab, home + page)]
            tab.close()
        chromium.close()
    return found


def main() -> int:
    site, *words = sys.argv[1:] or ["_docs/html"]
    if CHROMIUM is None:
        print("error: no Chromium on the PATH (Debian: apt install chromium)", file=sys.stderr)
        return 2
    found = oddities(Path(site), words)
    print(*found, sep="\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
