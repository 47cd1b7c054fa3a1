"""Plots as files of their own: the theme's colours on white, with the caption that the page has."""

import re
from html import unescape

import made_runs
import pytest
from matplotlib.image import imread

import reports
from reports import html, pictures, svg, view


@pytest.fixture(scope="module")
def run():
    return made_runs.one_case()


@pytest.fixture(scope="module")
def plots(run):
    return html.drawings(view.build(run))


@pytest.fixture(scope="module")
def files(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plots")
    return reports.draw(run, ("png", "svg"), folder)


def test_every_plot_of_the_page_is_a_file_of_each_kind(run, plots, files):
    names = [plot.svg.prefix for plot in plots]
    assert len(names) == html.render(view.build(run)).count("<svg") > 3
    assert [path.name for path in files] == [f"{n}.{kind}" for n in names for kind in reports.PLOTS]
    assert all(path.stat().st_size > 1000 for path in files)


def test_no_stand_in_colour_is_left(files):
    stand_ins = {svg.INK, svg.MUTED, svg.RULE, svg.PAPER, *svg.SERIES}
    for path in files:
        if path.suffix == ".svg":
            used = set(re.findall(r"#[0-9a-f]{6}", path.read_text()))
            assert not used & stand_ins and used & set(pictures._theme().values()), path


def test_a_picture_is_opaque_and_white_where_nothing_is_drawn(files):
    for path in files:
        if path.suffix == ".png":
            image = imread(path)
            assert tuple(image[0, 0]) == (1, 1, 1, 1)
            assert image[:, :, 3].min() == 1


def test_a_file_says_what_its_caption_says(plots, files):
    drawings = [unescape(path.read_text()) for path in files if path.suffix == ".svg"]
    for plot, text in zip(plots, drawings, strict=True):
        assert plot.svg.heading in text
        assert all(word in text for word in plot.note.split())


def test_the_same_plot_is_the_same_bytes(run, files, tmp_path):
    again = reports.draw(made_runs.one_case(), ("svg",), tmp_path)
    first = [path for path in files if path.suffix == ".svg"]
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in first]
