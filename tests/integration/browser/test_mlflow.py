"""What people see in MLflow's pages of the runs."""

from urllib.parse import quote

import pytest
from mlflow.entities import Metric, Param

pytestmark = pytest.mark.pipeline

# The cells of the table by run and column: it draws its fixed columns apart from the others.
TABLE = """
    const runs = {};
    for (const row of document.querySelectorAll('[role=row][row-id]')) {
        const cells = [...row.querySelectorAll('[role=gridcell]')];
        const texts = cells.map(cell => [cell.getAttribute('col-id'), cell.innerText]);
        const id = row.getAttribute('row-id');
        runs[id] = {...runs[id], ...Object.fromEntries(texts), row: Number(row.getAttribute('row-index'))};
    }
    return runs;
"""
# What is drawn in each chart that can be seen: its curves by name, and their numbers of points.
CHARTS = """
    const charts = [...document.querySelectorAll('.js-plotly-plot')].filter(e => e.getClientRects().length && e.data);
    return charts.map(chart => chart.data.filter(trace => (trace.mode || '').includes('lines'))
        .map(trace => [trace.name, trace.y.length]));
"""
# The first player, also within a web component.
PLAYER = """
    const find = root => root.querySelector('audio') ||
        [...root.querySelectorAll('*')].map(e => e.shadowRoot && find(e.shadowRoot)).find(e => e);
    return find(document);
"""


def curve(run):
    """How a run's curve by epoch is told apart: name and number of points."""
    return run.info.run_name, int(run.data.metrics["epochs"])


@pytest.fixture(scope="module")
def two_runs(finished):
    """The run of the workspace, and a copy of it that has trained for an epoch more."""
    workspace, _ = finished
    client, (run, *_) = workspace.store()
    changed = run.data.params | {"train.epochs": "3"}
    points = []
    for key in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, key)
        if len(history) == 2:  # a curve by epoch
            last = history[-1]
            history.append(Metric(key, 0.9 * last.value, last.timestamp, last.step + 1))
        points += [Metric(key, 3, point.timestamp, point.step) for point in history] if key == "epochs" else history
    copy = client.create_run(run.info.experiment_id, run_name="three epochs").info.run_id
    client.log_batch(copy, points, [Param(key, value) for key, value in changed.items()])
    client.set_terminated(copy)
    return run, client.get_run(copy)


@pytest.fixture
def table(browser, runs_page, two_runs):
    """The list of runs, as `audiornn ui` opens it, with the cells that it shows."""
    browser.open(runs_page)

    def filled():
        cells = browser.script(TABLE)
        return all(run.info.run_id in cells for run in two_runs) and cells

    return browser.wait(filled, "the list of runs")


def test_the_list_shows_the_runs_with_their_metrics_and_the_best_on_top(browser, table, two_runs):
    browser.screenshot("runs")
    for run in two_runs:
        cells = table[run.info.run_id]
        assert run.info.run_name in cells["attributes.`Run Name`"]
        assert cells["params.`shard.context`"] == run.data.params["shard.context"]
        for name in ("validation.bits_per_sample", "test.bits_per_sample", "test.accuracy"):
            assert float(cells[f"metrics.`{name}`"]) == pytest.approx(run.data.metrics[name])
    column = "metrics.`validation.bits_per_sample`"
    shown = [cells[column] for cells in sorted(table.values(), key=lambda cells: cells["row"])]
    assert float(shown[0]) == min(float(value) for value in shown if value not in ("", "-"))


def test_comparing_two_runs_shows_both_curves(browser, runs_page, table, two_runs):
    both = set(map(curve, two_runs))

    def drawn(charts):
        return [curves for curves in browser.script(CHARTS) if both <= set(map(tuple, curves))][charts - 1 :]

    for run in two_runs:
        browser.click(f"[row-id='{run.info.run_id}'] .ag-selection-checkbox input")
    browser.click("button", "Compare")
    browser.wait(lambda: "Comparing 2 Runs" in browser.text(), "the comparison")
    chart = browser.wait(lambda: browser.script("return document.querySelector('a[title=\"Plot chart\"]')"), "metrics")
    browser.wait(lambda: browser.script(CHARTS), "the plot of parameters and metrics")
    browser.screenshot("compared")
    # Each metric is a link to its chart; only those can be clicked that the long list has scrolled to.
    browser.open(chart.get_attribute("href").replace(chart.text, "validation_loss"))
    (curves,) = browser.wait(lambda: drawn(1), "a chart of the validation loss with both curves")
    assert {tuple(curve) for curve in curves} == both
    browser.screenshot("curves")

    # Where there are many runs, MLflow draws ten.
    chosen = quote(f"attributes.run_id IN ({', '.join(repr(run.info.run_id) for run in two_runs)})")
    browser.open(f"{runs_page.split('?')[0]}?workflowType=machine_learning&compareRunsMode=CHART&searchFilter={chosen}")
    browser.type("input[placeholder='Search metric charts']", "_loss")
    browser.wait(lambda: drawn(2), "charts of training and validation with both curves")
    browser.screenshot("charts")


def test_a_generated_clip_has_a_player_that_plays(browser, runs_page, two_runs):
    run = two_runs[0]
    place = f"runs/{run.info.run_id}/artifacts/generated/01-temperature-1.wav"
    browser.open(runs_page.replace("/runs?", f"/{place}?"))
    player = browser.wait(lambda: browser.script(PLAYER), "a player")
    browser.wait(lambda: browser.script("return arguments[0].readyState", player) >= 2, "sound in the player")
    assert browser.script("return arguments[0].error", player) is None
    seconds = float(run.data.params["generate.seconds"])
    assert browser.script("return arguments[0].duration", player) == pytest.approx(seconds, abs=0.01)
    browser.script("arguments[0].muted = true; arguments[0].play()", player)
    browser.wait(lambda: browser.script("return arguments[0].ended", player), "the clip played to its end")
    browser.screenshot("player")
