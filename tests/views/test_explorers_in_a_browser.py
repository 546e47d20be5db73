"""The explorers as a reader meets them: in JupyterLab and Voilà, with mouse and keyboard."""
from __future__ import annotations

import signal

import pytest
from served import WAIT, open_in_lab

pytestmark = [pytest.mark.slow, pytest.mark.browser]
IMPORT = "from pptrain.widgets import explore\n"


def attribute(tab, name: str) -> str:
    return tab.locator(".pp-explorer").first.get_attribute(f"data-{name}")


def newer(tab, version: str):
    tab.wait_for_function("v => document.querySelector('.pp-explorer').dataset.version !== v",
                          arg=version, timeout=WAIT)


def clean(tab):
    assert not tab.wrongs, tab.wrongs


def nudge(tab, description: str, key: str = "ArrowRight"):
    "One step of the slider with this label."
    label = tab.locator(".widget-label", has_text=description)
    handle = tab.locator(".widget-slider", has=label).locator(".noUi-handle").first
    handle.focus()
    handle.press(key)


# Dyck

def check_dyck(tab):
    strip = tab.locator(".pp-strip .pp-token")
    assert attribute(tab, "kind") == "brackets" and strip.count() == 64
    strip.nth(0).hover()
    assert attribute(tab, "selected") == "0"
    lit = [".pp-token.pp-chosen", ".pp-token.pp-partner", ".pp-light .pp-span",
           ".pp-light .pp-arc-lit"]
    for mark in lit:
        assert tab.locator(mark).count() == 1, mark
    assert "partner" in tab.locator(".pp-says").inner_text()
    tab.locator(".pp-strip").focus()
    tab.keyboard.press("Home")
    tab.keyboard.press("Enter")      # from the first bracket to its partner
    partner = tab.locator(".pp-token.pp-chosen").get_attribute("data-i")
    assert partner != "0" and tab.locator(".pp-token.pp-partner").get_attribute("data-i") == "0"
    version = attribute(tab, "version")
    text = tab.locator(".pp-strip").inner_text()
    sky = tab.locator(".pp-sky").get_attribute("d")
    nudge(tab, "seed")
    newer(tab, version)
    assert tab.locator(".pp-strip").inner_text() != text
    assert tab.locator(".pp-sky").get_attribute("d") != sky
    clean(tab)


def test_dyck_in_jupyterlab(tab, lab):
    open_in_lab(tab, lab, "dyck", IMPORT + "explore('dyck')")
    check_dyck(tab)


def test_dyck_from_the_command_line(tab, explore_command):
    "A page by Voilà that asks nobody on the network, refuses strangers, and stops cleanly."
    url = explore_command("dyck")
    tab.goto(url)
    tab.locator(".pp-explorer[data-version]").first.wait_for(timeout=WAIT)
    check_dyck(tab)
    assert not tab.strangers, tab.strangers
    stranger = tab.context.browser.new_context().new_page()
    stranger.goto(url.split("?")[0])
    assert stranger.locator(".pp-explorer").count() == 0
    assert "token" in stranger.content().lower()
    stranger.context.close()
    child = explore_command.children[-1]
    child.send_signal(signal.SIGINT)
    assert child.wait(40) == 130 and "has stopped" in child.stderr.read()


def test_an_unchanged_voila_shows_it_too(tab, voila):
    tab.route("**/*jsdelivr*/**", lambda route: route.fulfill(body=""))    # its icons
    tab.goto(voila("from pptrain.widgets import explore\nexplore('procedural')"))
    tab.locator(".pp-explorer[data-version]").first.wait_for(timeout=WAIT)
    assert attribute(tab, "kind") == "row" and tab.locator(".pp-steps tr").count() > 0
    version = attribute(tab, "version")
    tab.get_by_role("button", name="next example").click()
    newer(tab, version)
    clean(tab)


# NCA

def check_nca(tab):
    pixels = "() => document.querySelector('.pp-grid').toDataURL()"
    assert attribute(tab, "kind") == "grid" and attribute(tab, "frame") == "0"
    assert "no loss on this frame" in tab.locator(".pp-frame").inner_text()
    first, words = tab.evaluate(pixels), tab.locator(".pp-strip").inner_text()
    tab.locator(".pp-next").click()
    assert attribute(tab, "frame") == "1" and tab.evaluate(pixels) != first
    assert tab.locator(".pp-strip").inner_text() != words
    assert tab.locator(".pp-strip .pp-loss").count() > 0
    sent = []
    tab.on("websocket", lambda ws: ws.on("framesent", lambda data: sent.append(data)))
    tab.locator(".pp-speed").select_option("60")
    tab.locator(".pp-play").click()
    frame = "document.querySelector('.pp-explorer').dataset.frame"
    tab.wait_for_function(f"() => Number({frame}) > 8")
    tab.locator(".pp-play").click()
    assert not sent, "frames play without the kernel"
    assert tab.evaluate(pixels) != first
    tab.locator(".pp-grid").focus()
    before = attribute(tab, "frame")
    tab.keyboard.press("ArrowRight")
    assert attribute(tab, "frame") != before
    tab.locator(".pp-token").nth(3).hover()          # a patch is ringed in the cells
    assert attribute(tab, "selected") != "-1"
    version, cells = attribute(tab, "version"), tab.evaluate(pixels)
    words = tab.locator(".pp-strip").inner_text()
    nudge(tab, "seed")
    newer(tab, version)
    assert tab.evaluate(pixels) != cells
    assert tab.locator(".pp-strip").inner_text() != words
    assert tab.locator(".pp-gauge").count() == 2
    version = attribute(tab, "version")
    tab.get_by_role("button", name="next accepted rule").click()
    newer(tab, version)
    clean(tab)


def test_nca_in_jupyterlab(tab, lab):
    open_in_lab(tab, lab, "nca", IMPORT + "explore('nca', preset='paper_web_text')")
    check_nca(tab)


def test_nca_from_the_command_line(tab, explore_command):
    tab.goto(explore_command("nca"))
    tab.locator(".pp-explorer[data-version]").first.wait_for(timeout=WAIT)
    check_nca(tab)


@pytest.mark.parametrize("call", ["'dyck', length=256", "'nca', preset='paper_web_text'"])
def test_every_turn_of_a_slider_is_answered_once(tab, lab, call):
    open_in_lab(tab, lab, "turns", IMPORT + f"explore({call})")
    first, turns = int(attribute(tab, "version")), 15
    for _ in range(turns):
        version = attribute(tab, "version")
        nudge(tab, "seed")
        newer(tab, version)
    assert int(attribute(tab, "version")) == first + turns
    clean(tab)


def test_a_refused_value_snaps_back(tab, lab):
    "The box that was typed into shows again what is drawn, and the reason is announced."
    open_in_lab(tab, lab, "refused", IMPORT + "explore('procedural')")
    version = attribute(tab, "version")
    tab.get_by_text("more settings").click()
    label = tab.locator(".widget-label", has_text="op_token")
    box = tab.locator(".widget-text", has=label).locator("input")
    before = box.input_value()
    box.fill("7")
    box.press("Enter")
    tab.get_by_role("alert").get_by_text("op_token").wait_for(timeout=WAIT)
    tab.wait_for_function("([box, before]) => box.value === before",
                          arg=[box.element_handle(), before])
    assert attribute(tab, "version") == version
    clean(tab)


def test_a_refused_slider_snaps_back_and_the_message_stays(tab, lab):
    "The browser puts the slider back; what that sends neither clears the message nor overrides."
    open_in_lab(tab, lab, "slider", IMPORT + "explore('simpler_tasks')")
    label = tab.locator(".widget-label", has_text="max_symbols").first
    number = tab.locator(".widget-slider", has=label).locator(".widget-readout").first
    number.click()
    tab.keyboard.press("Control+a")
    tab.keyboard.type("7")
    tab.keyboard.press("Enter")
    told = tab.get_by_role("alert").filter(has_text="max_symbols=7")
    told.wait_for(timeout=WAIT)
    tab.wait_for_function("e => e.innerText === '24'", arg=number.element_handle())
    tab.wait_for_timeout(1000)
    assert told.count() == 1 and "max_symbols=24 stays" in told.inner_text()
    version = attribute(tab, "version")
    nudge(tab, "seed")
    newer(tab, version)
    assert tab.get_by_role("alert").count() == 0
    line = tab.locator("code", has_text="create_task").last.inner_text()
    assert line == "create_task('simpler_tasks', {'preset': 'smoke'}).sample(0, seed=1)"
    clean(tab)


@pytest.mark.parametrize("family", ["simpler_tasks", "lime", "summarization", "procedural"])
def test_every_family_has_an_explorer(tab, lab, family):
    open_in_lab(tab, lab, family, IMPORT + f"explore('{family}')")
    assert tab.locator(".pp-strip").count() == 2 and tab.locator(".pp-loss").count() > 0
    version = attribute(tab, "version")
    nudge(tab, "seed")
    newer(tab, version)
    clean(tab)
