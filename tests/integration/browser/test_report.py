"""The page of a run, as a file and among the run's artifacts in MLflow: its sounds can be heard, its pictures seen."""

import json

import pytest

pytestmark = pytest.mark.pipeline

PLAYERS = """
    return [...document.querySelectorAll('audio')].map(e => [e.readyState, e.duration, e.error && e.error.message]);
"""
PICTURES = "return [...document.querySelectorAll('img')].map(e => [e.alt, e.complete, e.naturalWidth])"
# What the page has fetched from anywhere but itself.
FETCHED = "return performance.getEntriesByType('resource').map(e => e.name).filter(name => !name.startsWith('data:'))"
WIDER = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


def check(browser):
    """All sounds have loaded and one plays to its end; all pictures are there."""
    browser.wait(lambda: "Reproduce" in browser.text(), "the report")

    def loaded():
        players = browser.script(PLAYERS)
        return all(state >= 1 for state, _, _ in players) and players

    players = browser.wait(loaded, "sound in all players")
    assert len(players) >= 4  # real, generated, the best and the worst second
    assert all(seconds > 0 and error is None for _, seconds, error in players)
    first = "document.querySelector('audio')"
    browser.script(f"{first}.muted = true; {first}.play()")
    browser.wait(lambda: browser.script(f"return {first}.ended"), "a sound played to its end")
    pictures = browser.script(PICTURES)
    assert len(pictures) >= 8
    assert all(alt and complete and width > 0 for alt, complete, width in pictures)


def check_search(browser, root):
    """What is typed finds recordings by their paths; words that are in none find nothing."""
    recordings = json.loads((root / "data/corpus/manifest.json").read_text())["recordings"]
    field = browser.driver.find_element("css selector", "[role=search] input")
    for typed, expected in ((recordings[1]["path"], 1), ("wav", len(recordings)), ("wav nowhere", 0)):
        field.clear()
        field.send_keys(typed)
        shown = f"{expected} of {len(recordings)} recordings"
        browser.wait(lambda shown=shown: shown in browser.text(), f"{typed} to be searched")
        rows = browser.script("return document.querySelectorAll('[role=search] tbody tr').length")
        assert rows == min(expected, 100)
    field.clear()
    field.send_keys(recordings[0]["path"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_is_a_self_contained_file(browser, finished, scheme):
    workspace, _ = finished
    browser.scheme(scheme)
    try:
        browser.open((workspace.root / "report.html").as_uri())
        check(browser)
        assert browser.script(FETCHED) == []
        assert browser.script(WIDER) <= 0  # nothing sticks out
        check_search(browser, workspace.root)
        browser.screenshot(f"report-{scheme}", whole=True)
    finally:
        browser.scheme("light")


def test_the_report_is_shown_among_the_artifacts_of_its_run(browser, finished, runs_page):
    workspace, _ = finished
    run_id = json.loads((workspace.root / "models/mlflow.json").read_text())["run_id"]
    browser.open(runs_page.replace("/runs?", f"/runs/{run_id}/artifacts/report/report.html?"))
    frame = browser.wait(lambda: browser.script("return document.querySelector('iframe')"), "the artifact's frame")
    browser.driver.switch_to.frame(frame)
    try:
        check(browser)
        browser.screenshot("report-in-mlflow")
    finally:
        browser.driver.switch_to.default_content()
