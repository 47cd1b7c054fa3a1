"""A person can use the pages: on any screen, in the dark, by keyboard, on paper."""

from __future__ import annotations

import pytest
from axe import run as axe_run
from chromium import Page

WIDTHS = (360, 768, 1440)

OPEN_ALL = "document.querySelectorAll('details').forEach(one => { one.open = true })"
CLOSE_ALL = "document.querySelectorAll('details').forEach(one => { one.open = false })"

#: What reaches over an edge of the screen and can't be scrolled to inside a box of its own.
STICKS_OUT = """
[...document.body.querySelectorAll('*')].filter(one => {
  const box = one.getBoundingClientRect();
  if (!box.width || one.closest('svg svg, defs, title, desc')) return false;
  if (box.left >= -1 && box.right <= innerWidth + 1) return false;
  for (let up = one.parentElement; up; up = up.parentElement)
    if (['auto', 'scroll'].includes(getComputedStyle(up).overflowX)) return false;
  return true;
}).map(one => one.outerHTML.slice(0, 160))
"""

#: Words of a drawing that leave it, or lie on one another. Two pixels of a line's height don't count.
WORDS_OF_DRAWINGS = """
[...document.querySelectorAll('main svg')].flatMap(svg => {
  const edge = svg.getBoundingClientRect();
  const words = [...svg.querySelectorAll('text')].filter(one => one.textContent.trim())
    .map(one => [one.textContent.trim(), one.getBoundingClientRect()]);
  const out = words.filter(([, box]) => box.left < edge.left - 2 || box.right > edge.right + 2
    || box.top < edge.top - 2 || box.bottom > edge.bottom + 2)
    .map(([text]) => `out of its drawing: ${text}`);
  const over = words.flatMap(([text, a], n) => words.slice(n + 1).filter(([, b]) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2)
    .map(([other]) => `on one another: ${text} | ${other}`));
  return [...out, ...over];
})
"""

#: axe looks at `color`, which drawings don't use. A word lies on the paper, or on the shape that was
#: drawn last under its middle. No word is so large that less contrast would do.
CONTRAST_OF_DRAWINGS = """
(() => {
  const brush = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const pixel = (color, alpha, under) => {
    brush.globalAlpha = 1; brush.fillStyle = under; brush.fillRect(0, 0, 1, 1);
    brush.globalAlpha = alpha; brush.fillStyle = color; brush.fillRect(0, 0, 1, 1);
    return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = rgb => {
    const [r, g, b] = rgb.map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = getComputedStyle(document.body).backgroundColor;
  const over = (box, x, y) => box.left <= x && x <= box.right && box.top <= y && y <= box.bottom;
  return [...document.querySelectorAll('main svg text')].filter(one => one.textContent.trim())
  .map(one => {
    const box = one.getBoundingClientRect();
    const x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
    const under = [...one.ownerSVGElement.querySelectorAll('path, rect, polygon')].filter(shape =>
      getComputedStyle(shape).fill !== 'none' && !shape.closest('defs') &&
      (shape.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING) &&
      over(shape.getBoundingClientRect(), x, y)).at(-1);
    const style = under && getComputedStyle(under);
    const ground = style ? pixel(style.fill, style.fillOpacity * style.opacity, paper)
                         : pixel(paper, 1, paper);
    const a = light(pixel(getComputedStyle(one).fill, 1, paper)), b = light(ground);
    return [one.textContent.trim(), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  }).filter(([, ratio]) => ratio < 4.5);
})()
"""

#: What a person without a mouse must get to: controls, and boxes that scroll. A number's link to its
#: raw rows is a shortcut for the mouse: SHORTCUTS are those that lead to no place with a control.
REACHABLE = """
[...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex], *')]
.filter(one => {
  if (!one.checkVisibility({contentVisibilityAuto: true})) return false;
  if (one.matches('[tabindex="-1"]')) return false;
  if (one.matches('a[href], button, input, select, textarea, summary, [tabindex="0"]')) return true;
  const style = getComputedStyle(one);
  return ['auto', 'scroll'].includes(style.overflowX) && one.scrollWidth > one.clientWidth + 1;
}).length
"""

SHORTCUTS = """
[...document.querySelectorAll('[tabindex="-1"]')].filter(one => !one.matches('a[href^="#"]') ||
  !document.getElementById(one.hash.slice(1))?.closest('details')).map(one => one.outerHTML)
"""

#: What has the focus now, and whether a person sees that.
FOCUSED = """
(() => {
  const one = document.activeElement;
  if (one === document.body) return null;
  const style = getComputedStyle(one), box = one.getBoundingClientRect();
  window.reached ??= new Set();
  window.reached.add(one);
  const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  const inside = box.bottom > 0 && box.top < innerHeight;
  return {what: one.outerHTML.slice(0, 120), seen: ring && inside, reached: reached.size};
})()
"""


def test_the_page_asks_for_nothing_runs_nothing_odd_and_says_no_error(page: Page) -> None:
    assert page.said == []
    assert page.ran == []
    assert [address.partition(":")[0] for address in page.asked] == ["file"]


@pytest.mark.parametrize("opened", [False, True], ids=["closed", "opened"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_of_the_screen(page: Page, width: int, opened: bool) -> None:
    page.show(width)
    page.run(OPEN_ALL if opened else CLOSE_ALL)
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run(STICKS_OUT) == []


@pytest.mark.parametrize("width", (360, 1440))
def test_the_words_of_a_drawing_stay_in_it_and_off_one_another(page: Page, width: int) -> None:
    page.show(width)
    assert page.run(WORDS_OF_DRAWINGS) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_wrong(page: Page, axe: str, dark: bool) -> None:
    page.show(768, dark=dark)
    page.run(OPEN_ALL)
    page.run(axe)
    assert page.run(axe_run()) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_words_of_a_drawing_can_be_read(page: Page, dark: bool) -> None:
    page.show(dark=dark)
    assert page.run(CONTRAST_OF_DRAWINGS) == []


@pytest.mark.parametrize("width", (360, 1440))
def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: Page, width: int) -> None:
    page.show(width)
    page.run(CLOSE_ALL)
    page.run("document.activeElement.blur(); scrollTo(0, 0); window.reached = new Set()")
    wanted = page.run(REACHABLE)
    unseen = []
    for _ in range(wanted + 1):
        page.press("Tab", 9)
        found = page.run(FOCUSED)
        if found is None:
            break
        if not found["seen"]:
            unseen.append(found["what"])
    assert unseen == []
    assert page.run("reached.size") == wanted
    assert page.run(SHORTCUTS) == []


def test_a_summary_opens_and_closes_by_keyboard(page: Page) -> None:
    page.show()
    page.run(CLOSE_ALL)
    if not page.run("!!document.querySelector('summary')"):
        pytest.skip("the page has nothing to open")
    page.run("document.querySelector('summary').focus()")
    for state in (True, False):
        page.press("Enter", 13, "\r")
        assert page.run("document.querySelector('details').open") is state


@pytest.mark.parametrize("width", [964, 1032], ids=["letter", "A4"])
def test_it_prints_on_white_with_nothing_cut_off(page: Page, width: int) -> None:
    page.show(width, dark=True, media="print")
    try:
        assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run(CONTRAST_OF_DRAWINGS) == []
        assert page.pdf().startswith(b"%PDF")
    finally:
        page.show()
