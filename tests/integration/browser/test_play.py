"""The page of `audiornn play`, in Chromium."""

import base64
import io
import json
import os
import sys
import time

import numpy as np
import psutil
import pytest
import soundfile as sf

from audiornn.codec import CodecSettings
from audiornn.generation.prompts import file_prompt
from audiornn.playing.live import Controls
from tests.helpers.playing import save_model
from tests.helpers.servers import free_port, serving

# Keeps what goes through the channel between the socket and the sound card.
EAVESDROP = """
    window.blocks = [];
    const Channel = MessageChannel;
    window.MessageChannel = function () {
        const [card, socket] = [new Channel(), new Channel()];
        card.port2.onmessage = ({data}) => socket.port1.postMessage(data);
        socket.port1.onmessage = ({data}) => {
            window.blocks.push(Int16Array.from(data, sample => 32768 * sample));
            card.port2.postMessage(data);
        };
        return {port1: card.port1, port2: socket.port2};
    };
"""
DOWNLOAD = """
    const [selector, done] = arguments;
    fetch(document.querySelector(selector).href).then(answer => answer.arrayBuffer()).then(content => {
        done(btoa(Array.from(new Uint8Array(content), byte => String.fromCharCode(byte)).join('')));
    });
"""
HEARD = """
    const done = arguments[0];
    new Blob(window.blocks).arrayBuffer().then(content => {
        done(btoa(Array.from(new Uint8Array(content), byte => String.fromCharCode(byte)).join('')));
    });
"""
DROP = """
    const bytes = Uint8Array.from(atob(arguments[0]), character => character.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], 'mine.wav'));
    document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
"""
SET = """
    const input = document.querySelector(`[name=${arguments[0]}]`);
    input.value = arguments[1];
    input.dispatchEvent(new Event('input', {bubbles: true}));
"""
NAMELESS = """
    return [...document.querySelectorAll('button, input, select, a, canvas, meter')].filter(e =>
        e.getClientRects().length && !(e.labels?.length || e.getAttribute('aria-label') || e.innerText.trim()))
        .map(e => e.outerHTML);
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A running `audiornn play` with two models, one of them in MLflow's place: named on the command line."""
    folder = tmp_path_factory.mktemp("play")
    save_model(folder / "models")
    save_model(folder / "other", seed=1)
    port = free_port()
    command = [sys.executable, "-m", "audiornn.cli", "play", "other", "--no-browser", "--port", str(port)]
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    with serving(folder / "log.txt", command, port, "models", cwd=folder, env=env) as url:
        yield url


@pytest.fixture
def page(browser, address):
    """The page, playing."""
    given = browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": EAVESDROP})
    browser.open(address)
    browser.click("#play:enabled")
    browser.wait(lambda: loudness(browser) > -50, "sound")
    yield browser
    browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", given)
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.driver.get("about:blank")


def loudness(page):
    """Level in dBFS, as the page's analyser sees it."""
    return page.script("return document.getElementById('loudness').value")


def downloaded(page, form):
    link = f"#takes a[data-form={form}]"
    page.wait(lambda: page.script("return document.querySelector(arguments[0])", link), "a take")
    return base64.b64decode(page.driver.execute_async_script(DOWNLOAD, link))


def kept(page):
    """Settings of the last minute."""
    page.click("#keep")
    return json.loads(downloaded(page, "json"))


def text(page, selector):
    return page.script("return document.querySelector(arguments[0]).innerText", selector)


def test_sound_is_played_and_the_sliders_change_it(page):
    assert loudness(page) > -40
    page.wait(lambda: text(page, "#uncertainty").endswith(" bits"), "the uncertainty")
    page.script(SET, "level_db", -40)
    page.wait(lambda: loudness(page) < -35, "less sound")
    page.script(SET, "temperature", 0.3)
    page.wait(lambda: text(page, "#heard") >= "0:02", "two seconds")
    made_with = [change["controls"] for change in kept(page)["changes"] if change.get("controls")]
    assert {"temperature": 0.3, "level_db": -40.0}.items() <= made_with[-1].items()


def test_a_slider_changes_its_control_and_no_other(page):
    controls = Controls().model_dump()
    shown = "return Object.fromEntries([...document.querySelectorAll('#controls input')].map(e => [e.name, "
    shown += "e.getAttribute('aria-valuetext')]))"
    assert page.script(shown) == {name: f"{value:g}" for name, value in controls.items()} | {
        "top_k": "all",
        "level_db": "0 dB",
    }
    moved = {name: {"top_k": 7, "level_db": -10}.get(name, 0.7) for name in controls}
    for name, value in moved.items():
        page.click("#defaults")
        page.script(SET, name, value)
        before = text(page, "#heard")
        page.wait(lambda before=before: text(page, "#heard") > before, "a second")
    made_with = [change["controls"] for change in kept(page)["changes"] if change.get("controls")]
    for name, value in moved.items():
        assert controls | {name: value} in made_with


def test_pause_stops_the_sound_and_the_generation(page):
    page.click("#play")
    assert page.script("return document.getElementById('play').getAttribute('aria-label')") == "Play"
    page.driver.execute_async_script("setTimeout(arguments[0], 500)")
    before = page.script("return window.blocks.length")
    page.driver.execute_async_script("setTimeout(arguments[0], 500)")
    assert page.script("return window.blocks.length") == before
    page.click("#play")
    page.wait(lambda: page.script("return window.blocks.length") > before + 10, "more")


def test_a_recording_downloads_and_is_what_was_played(page):
    page.click("#record")
    page.wait(lambda: text(page, "#record").strip() == "Stop recording", "a recording")
    page.driver.execute_async_script("setTimeout(arguments[0], 1000)")
    page.click("#record")
    page.wait(lambda: page.script("return document.querySelector('#takes input')"), "a take")
    page.script(
        "const name = document.querySelector('#takes input'); name.value = 'wind & rain'; "
        "name.dispatchEvent(new Event('input', {bubbles: true}));"
    )
    for form in ("wav", "flac"):
        content = downloaded(page, form)
        pcm, rate = sf.read(io.BytesIO(content), dtype="int16")
        assert rate == 8000
        assert len(pcm) > 4000
        assert np.ptp(pcm.astype(int)) > 100
        assert pcm.tobytes() in base64.b64decode(page.driver.execute_async_script(HEARD))
        assert sf.SoundFile(io.BytesIO(content)).title == "wind & rain"


def test_a_dropped_file_is_continued(page, tmp_path):
    path = tmp_path / "mine.wav"
    sf.write(path, 0.5 * np.sin(2 * np.pi * 500 * np.arange(48_000) / 48_000), 48_000)
    page.script(DROP, base64.b64encode(path.read_bytes()).decode())
    page.wait(lambda: "The model continues it." in page.text(), "the prompt")
    page.driver.execute_async_script("setTimeout(arguments[0], 600)")
    prompts = [change["beginning"]["prompt"] for change in kept(page)["changes"] if change.get("beginning")]
    codes = file_prompt(path, 0.5, CodecSettings(8000, 20.0, 0.95))
    assert base64.b64decode(prompts[-1]) == codes.tobytes()


def test_the_microphone_is_continued(page):
    page.script("document.getElementById('seconds').value = 1.2")
    page.click("#microphone")
    page.wait(lambda: "Listening." in page.text(), "the microphone")
    page.driver.execute_async_script("setTimeout(arguments[0], 2500)")
    page.click("#microphone")
    page.wait(lambda: "The model continues it." in page.text(), "the prompt")


def test_sound_is_played_without_worklets_which_need_localhost_or_https(browser, address):
    without = {"source": "delete BaseAudioContext.prototype.audioWorklet"}
    given = browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", without)
    browser.open(address)
    browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", given)
    browser.click("#play:enabled")
    browser.wait(lambda: loudness(browser) > -50, "sound")
    assert not browser.script("return new AudioContext().audioWorklet")
    browser.driver.get("about:blank")


def test_a_blind_comparison_hides_the_names_until_the_vote(page):
    names = ("models/", "other")
    page.click("#compare")
    page.wait(lambda: "You hear X." in page.text(), "X")
    assert page.script("return document.getElementById('model').selectedIndex") == -1
    page.click("[data-choose=Y]")
    page.wait(lambda: "You hear Y." in page.text(), "Y")
    page.click("[data-vote=Y]")
    page.wait(lambda: "You preferred Y." in text(page, "#votes"), "the names")
    assert all(name in text(page, "#votes") for name in names)


def test_the_keyboard_is_enough_and_every_control_has_a_name(page):
    body = page.driver.find_element("css selector", "body")
    body.send_keys("r")
    page.wait(lambda: text(page, "#record").strip() == "Stop recording", "a recording")
    body.send_keys("n")
    page.wait(lambda: page.script("return document.getElementById('seed').value") != "0", "another seed")
    page.driver.execute_async_script("setTimeout(arguments[0], 500)")
    body.send_keys("r")
    page.wait(lambda: page.script("return document.querySelectorAll('#takes li').length") == 1, "a take")
    body.send_keys(" ")
    page.wait(lambda: page.script("return !document.body.classList.contains('playing')"), "a pause")
    assert page.script(NAMELESS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_phones_and_desktops_in_light_and_dark_mode(page, scheme):
    page.scheme(scheme)
    page.driver.execute_async_script("setTimeout(arguments[0], 1500)")
    for name, width, height in (("desk", 1200, 800), ("phone", 360, 740)):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": name == "phone"}
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        page.screenshot(f"play-{name}-{scheme}", whole=True)
        assert page.script("return document.documentElement.scrollWidth") <= width


@pytest.mark.soak
@pytest.mark.parametrize("rate", [8000, 16_000])
def test_a_soak_in_the_browser_has_no_under_run_and_memory_stays_flat(browser, tmp_path, rate):
    """For AUDIORNN_SOAK_SECONDS a model of the default sizes, generated on one core."""
    seconds = float(os.environ.get("AUDIORNN_SOAK_SECONDS", 5))
    save_model(tmp_path / "models", rate=rate, sizes={"name": "samplernn"})
    port, core = free_port(), min(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "audiornn.cli", "play", "--no-browser", "--port", str(port)]
    log = tmp_path / "log.txt"
    with serving(log, command, port, "models", cwd=tmp_path, preexec_fn=lambda: os.sched_setaffinity(0, {core})) as url:
        (server,) = (child for child in psutil.Process().children() if str(port) in child.cmdline())
        browser.open(url)
        browser.click("#play:enabled")
        browser.wait(lambda: loudness(browser) > -50, "sound")
        before, begin = server.memory_info().rss, time.monotonic()
        heaps = []
        while time.monotonic() < begin + seconds:
            time.sleep(5)
            browser.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
            heaps.append(browser.script("return performance.memory.usedJSHeapSize"))
            assert loudness(browser) > -50
        grown, under_runs = server.memory_info().rss - before, int(text(browser, "#underruns"))
        page_grown = heaps[-1] - heaps[0]
        print(
            f"{rate} Hz, {time.monotonic() - begin:.0f} s in the browser: {under_runs} under-runs, "
            f"server {grown / 1e6:+.1f} MB, page {page_grown / 1e6:+.1f} MB"
        )
        browser.driver.get("about:blank")
    assert under_runs == 0
    assert grown < 30e6 and page_grown < 10e6
