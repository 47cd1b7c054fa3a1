"""Memory, claims and conditions as a report shows them, for runs with a known truth."""

from dataclasses import replace
from html import escape

import pytest

from reports import html, markdown, view
from results import memory


@pytest.fixture(scope="module")
def report(run):
    return view.build(run)


def test_the_memory_table_adds_up_for_every_arm(run, report):
    assert [row.name for row in report.memory] == [
        "llamacpp gguf-f32", "llamacpp gguf-q4_1", "onnx onnx-f32", "onnx onnx-int4",
        "transformers hf-f32",
    ]  # fmt: skip
    assert {(row.explained, row.adds_up, row.swap) for row in report.memory} == {
        ("100%", True, "0 B")
    }
    for record in run.records:
        if (point := memory.at_pss_peak(record.memory)) is not None:
            assert point.anonymous + point.file_backed == point.pss
    page, text = html.render(report), markdown.render(report)
    for row in report.memory:
        for value in (row.rss, row.pss, row.anonymous, row.file_backed, *row.phases, row.sampler):
            assert value in page and value in text
    assert [row.phases[0] < row.phases[1] for row in report.memory] == [True] * 5


def test_memory_that_does_not_add_up_is_marked(run):
    def lose(record):
        if record.memory is None:
            return record
        points = tuple(replace(p, anonymous=p.anonymous // 2) for p in record.memory.points)
        return replace(record, memory=replace(record.memory, points=points))

    report = view.build(replace(run, records=tuple(map(lose, run.records))))
    onnx = next(row for row in report.memory if row.name == "onnx onnx-f32")
    assert (onnx.explained, onnx.adds_up) == ("53%", False)
    assert '<td class="number bad">53%</td>' in html.render(report)


def test_memory_that_the_system_cannot_split_is_a_dash(run):
    def coarse(record):
        if record.memory is None:
            return record
        points = tuple(
            replace(p, pss=None, anonymous=None, file_backed=None, swap=None)
            for p in record.memory.points
        )
        return replace(record, memory=replace(record.memory, points=points))

    report = view.build(replace(run, records=tuple(map(coarse, run.records))))
    for row in report.memory:
        assert (row.pss, row.anonymous, row.explained, row.swap) == ("–",) * 4
        assert row.rss.endswith("MB") and row.phases == ("–",) * 3


def test_a_claim_that_is_off_is_shown_with_both_numbers(report):
    texts = [claim.text for claim in report.claims]
    assert len(texts) == 6 and all("prefill_ms: llamacpp says " in text for text in texts)
    assert all(text.endswith(" (+12 %)") for text in texts)
    assert report.agreeing_claims == 14 + 4  # prefill_tokens, decode_ms per token
    page = html.render(report)
    assert all(text in page for text in (*texts, "18 claims agree", "6 are off"))


def test_conditions_are_per_case_and_a_disturbed_trial_is_counted(report):
    rows = {(row.case, row.task): row for row in report.conditions}
    noisy = rows["transformers hf-f32", "Generate 256 → 24 tokens, greedy"]
    assert (noisy.threads, noisy.disturbed, noisy.cache) == ("2 of 2", "1 of 2", "–")
    load = rows["onnx onnx-f32", "Load, warm page cache"]
    assert (load.disturbed, load.cache) == ("0 of 3", "100% → 100%")
    assert not any(case.startswith("mlx") for case, _ in rows)
    compared = report.comparisons[2].rows
    (row,) = [row for row in compared if row.name == "transformers hf-f32"]
    assert row.grade == "with caveats" and row.blamed == ("environment",)
    assert "disturbed" in row.reasons[0]


def test_other_weights_carry_their_caveat(report):
    for one in report.comparisons:
        (row,) = [row for row in one.rows if row.name == "onnx onnx-int4"]
        assert row.grade == "with caveats" and {"weights", "precision"} <= set(row.blamed)
        assert any("weights differ" in reason for reason in row.reasons)


def test_a_case_without_a_value_is_incomparable_and_says_why(report):
    (row,) = [row for row in report.comparisons[0].rows if row.name == "mlx mlx-4bit"]
    assert {(cell.value, cell.verdict) for cell in row.cells} == {("–", "incomparable")}
    assert row.reasons[0] == "mlx mlx-4bit gave no value (unsupported)"


def test_why_a_verdict_is_neither_better_nor_worse_is_text_and_no_tooltip(report):
    """Whoever has no mouse must be able to read it."""
    page, text = html.render(report), markdown.render(report)
    section = page.partition('<h2 id="comparisons">')[2].partition("</section>")[0]
    assert "title=" not in section
    whys = [why for one in report.comparisons for row in one.rows for why in row.whys]
    assert "decode speed: the interval holds 1" in whys
    for one in report.comparisons:
        for row in one.rows:
            told = "; ".join(row.whys)
            assert all(cell.why in told for cell in row.cells)
            assert f'<span class="note">{escape(told)}</span>' in section or not told
            assert markdown.escape("; ".join(row.reasons)) in text and told in "; ".join(
                row.reasons
            )


def test_a_reason_that_holds_for_all_metrics_is_told_once(run):
    first = tuple(r for r in run.records if r.repetition == 0)
    trials = tuple(t for t in run.info.trials if t.repetition == 0)
    one_trial = replace(run, records=first, info=replace(run.info, trials=trials))
    rows = [row for one in view.build(one_trial).comparisons for row in one.rows]
    assert {row.whys for row in rows if row.cells[0].interval == ""} >= {
        ("a single trial gives no interval",)
    }


def test_every_item_of_every_certificate_is_on_the_page(report):
    page = html.render(report)
    for one in report.comparisons:
        for row in one.rows:
            names = [item.name for item in row.certificate]
            assert ("page_cache" in names) == one.title.startswith("Load")
            for item in row.certificate:
                assert f"<dt>{item.name}</dt>" in page
