"""The report in a real headless Chromium: at a desk and on a phone, light and dark, in print."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chromium import Chromium, find_chromium
from nnx.benchmarks.report import write_report
from report_records import MAKERS, bench_record, scale_record, write

WIDTHS = (1400, 390)
# Text in a drawing is scaled with it: what the reader sees is its height on the screen.
LEGIBLE = """
[...document.querySelectorAll('p, li, td, th, dt, dd, figcaption, a, svg text')]
  .filter(one => one.getClientRects().length && one.textContent.trim())
  .map(one => {
    const svg = one.closest('svg');
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    return [parseFloat(getComputedStyle(one).fontSize) * scale, one.textContent.trim()];
  })
  .filter(([pixels]) => pixels < 11)
"""
# Contrast of WCAG 2 between text and the first opaque background behind it.
CONTRAST = """
(() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = one => {
    for (; one; one = one.parentElement) {
      const colour = parts(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('h1, h2, h3, p, li, td, th, dt, dd, a, figcaption, text')]
    .filter(one => one.getClientRects().length && one.textContent.trim())
    .filter(one => !one.closest('#figure-speed-up svg'))
    .map(one => {
      const style = getComputedStyle(one);
      const ink = light(parts(one.tagName === 'text' ? style.fill : style.color));
      const paper = light(behind(one));
      const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
      return [ratio, one.textContent.trim()];
    })
    .filter(([ratio]) => ratio < 4.5);
})()
"""
# Letters that stand outside their drawing, and so over other parts of the page or beyond it.
OUTSIDE = """
[...document.querySelectorAll('.drawing svg')].filter(svg => svg.getClientRects().length)
  .flatMap(svg => {
    const box = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter(text => {
      const one = text.getBoundingClientRect();
      return one.left < box.left - 2 || one.right > box.right + 2
        || one.top < box.top - 2 || one.bottom > box.bottom + 2;
    }).map(text => text.textContent);
  })
"""
SHOWN = """
[...document.querySelectorAll('figure')].map(figure => [
  figure.id,
  [...figure.querySelectorAll('.drawing')].filter(one => one.getClientRects().length).length,
  figure.querySelectorAll('svg path').length,
])
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    program = find_chromium()
    if program is None:
        if os.environ.get("NNX_REQUIRE_CHROMIUM"):
            pytest.fail("NNX_REQUIRE_CHROMIUM is set, and no Chromium was found")
        pytest.skip("no Chromium or Chrome on the PATH, and NNX_CHROMIUM names none")
    with Chromium(program) as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of one machine with every record, and that of two with a GPU."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    for name, make in MAKERS.items():
        write(one, name, make())
    write(two / "a", "throughput", bench_record())
    write(two / "a", "scale", scale_record(seeds=2))
    write(two / "b", "throughput", bench_record(("cpu", "cuda:0"), model="Another processor"))
    write(two / "b", "scale", scale_record(seeds=2, model="Another processor"))
    return {"one": write_report([one]), "two": write_report([two], two / "report.html")}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["one", "two"])
def test_it_renders_legibly(
    name: str, width: int, dark: bool, browser: Chromium, pages: dict[str, Path]
) -> None:
    path = pages[name]
    browser.open(path, width, dark=dark)
    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [path.as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    shown = browser.evaluate(SHOWN)
    assert len(shown) > 10
    for figure, drawings, paths in shown:
        assert drawings == 1, figure
        assert paths > 5, figure
    assert browser.evaluate(LEGIBLE) == []
    assert browser.evaluate(CONTRAST) == []
    assert browser.evaluate(OUTSIDE) == []


def test_dark_is_dark_and_light_is_light(browser: Chromium, pages: dict[str, Path]) -> None:
    colours = "getComputedStyle(document.body).backgroundColor"
    line = "getComputedStyle(document.querySelector('#figure-performance svg "
    line += '[style*="stroke: var(--series-0"]\')).stroke'
    seen = []
    for dark in (False, True):
        browser.open(pages["one"], 1400, dark=dark)
        seen.append((browser.evaluate(colours), browser.evaluate(line)))
    assert seen[0][0] == "rgb(246, 247, 249)"
    assert seen[1][0] == "rgb(15, 17, 21)"
    assert seen[0][1] != seen[1][1]


def test_print_is_light_without_navigation_and_shows_whole_tables(
    browser: Chromium, pages: dict[str, Path]
) -> None:
    browser.open(pages["one"], 720, dark=True)
    browser.media("print", dark=True)
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert browser.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    cut = "[...document.querySelectorAll('.scroll')].filter(one => one.scrollHeight > "
    cut += "one.clientHeight + 2).length"
    assert browser.evaluate(cut) == 0
    assert browser.pdf().startswith(b"%PDF")


def test_the_keyboard_reaches_tables_that_scroll(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["one"], 1400)
    scrolling = "[...document.querySelectorAll('.scroll')].filter(one => one.scrollHeight > "
    scrolling += "one.clientHeight).map(one => one.tabIndex)"
    found = browser.evaluate(scrolling)
    assert found
    assert set(found) == {0}
