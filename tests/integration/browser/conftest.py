"""Debian's Chromium, without a screen, and where its screenshots go: the folder $SCREENSHOTS, or pytest's own."""

import base64
import os
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

SECONDS = 60  # that a page may take: on a busy machine MLflow's take long
# Nothing that is not asked for: no first-run pages, no updates, no synchronisation.
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage "
    "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream "  # a microphone that beeps
    "--autoplay-policy=no-user-gesture-required --window-size=1900,1100"
)


class Browser:
    """A browser that waits until pages, which build themselves, show what is looked for."""

    def __init__(self, driver, screenshots):
        self.driver = driver
        self._screenshots = screenshots

    def open(self, url):
        self.driver.get("about:blank")  # a change of what follows the # alone would load nothing
        self.driver.get(url)

    def wait(self, looked_for, what):
        """The first answer of `looked_for()` that is true; fails with a screenshot where none comes."""
        try:
            return WebDriverWait(self.driver, SECONDS, 0.3).until(lambda _: looked_for(), what)
        except BaseException:
            self.screenshot("failed")
            raise

    def script(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def click(self, selector, text=""):
        """Click what matches a CSS selector, holds exactly this text, if any, and can be seen."""
        find = (
            "return [...document.querySelectorAll(arguments[0])].find(e => e.getClientRects().length && "
            "(!arguments[1] || e.innerText.trim() === arguments[1]))"
        )
        self.wait(lambda: self.script(find, selector, text), f"{selector} {text!r}")
        self.script(find.replace("return ", "(") + ").click()", selector, text)

    def type(self, selector, text):
        self.wait(lambda: self.script("return document.querySelector(arguments[0])", selector), selector)
        self.driver.find_element("css selector", selector).send_keys(text)

    def text(self):
        return self.script("return document.body.innerText")

    def scheme(self, name):
        """Prefer light or dark pages."""
        preference = {"features": [{"name": "prefers-color-scheme", "value": name}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", preference)

    def screenshot(self, name, whole=False):
        """Keep what is to be seen, or the whole page with what lies below."""
        asked = {"format": "png"}
        if whole:
            page = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
            asked |= {"captureBeyondViewport": True, "clip": {**page, "scale": 1}}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", asked)
        (self._screenshots / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory):
    if "SCREENSHOTS" not in os.environ:
        return tmp_path_factory.mktemp("screenshots")
    folder = Path(os.environ["SCREENSHOTS"]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def browser(screenshots, tmp_path_factory):
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    for name, path in programs.items():
        if not path:
            pytest.skip(f"{name} is not installed: on Debian, apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    # With the driver named, Selenium looks for none, and so downloads none.
    driver = webdriver.Chrome(options=options, service=Service(programs["chromedriver"]))
    try:
        yield Browser(driver, screenshots)
    finally:
        driver.quit()
