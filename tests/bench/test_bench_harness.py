"""The harness of the benchmarks: its statistics, its arguments, its page. No benchmark runs here."""

from importlib import import_module

import pytest
from bench import __main__ as bench
from bench import report
from bench.stats import Sample, ratio


def test_median_is_the_middle_value() -> None:
    assert Sample.of([5, 1, 3]).median == 3
    assert Sample.of([4, 1, 3, 2]).median == 2.5


def test_interval_is_the_whole_range_below_six_values() -> None:
    assert Sample.of([3, 1, 2, 5, 4]).interval == (1, 5)


@pytest.mark.parametrize(("count", "skipped"), [(6, 0), (8, 0), (9, 1), (12, 2), (15, 3), (20, 5), (100, 39)])
def test_interval_leaves_out_what_the_binomial_distribution_allows(count: int, skipped: int) -> None:
    """Conover's table: for n = 15 the interval runs from the 4th to the 12th value, for n = 20 from the 6th to the 15th."""
    assert Sample.of(list(range(count))).interval == (skipped, count - 1 - skipped)


def test_an_outlier_moves_neither_median_nor_interval_much() -> None:
    assert Sample.of([*range(14), 10_000]).interval == (3, 11)


def test_ratio_is_taken_round_by_round() -> None:
    assert ratio([2, 20, 200], [1, 10, 50]).values == (2, 2, 4)


def test_ratio_of_unequal_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio([1, 2], [1])


def test_a_sample_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Sample.of([])


def test_text_says_median_interval_and_size() -> None:
    assert Sample.of([1.0, 2.0, 3.0]).text("ms", 1) == "2.0 ms (1.0 to 3.0, n = 3)"


@pytest.mark.parametrize("name", bench.NAMES)
def test_every_benchmark_can_be_asked_for_and_says_what_it_compares(name: str) -> None:
    asked = bench.parse([name, "--quick"])
    module = import_module(f"bench.{name}")
    assert (asked.names, asked.quick, asked.write) == ([name], True, False)
    assert callable(module.run)
    assert len(module.__doc__ or "") > 200


def test_no_name_is_all_of_them() -> None:
    assert bench.parse([]).names == list(bench.NAMES)


def test_an_unknown_name_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.parse(["speed"])
    assert "there is no benchmark 'speed'; there are: deploy" in capsys.readouterr().err


def test_a_section_replaces_the_one_of_its_name_and_no_other() -> None:
    page = report.placed("", "deploy", "## deploy\n\nfirst\n")
    page = report.placed(page, "idle", "## idle\n\nold\n")
    page = report.placed(page, "deploy", "## deploy\n\nsecond\n")
    assert page == f"{report.INTRODUCTION}\n## deploy\n\nsecond\n\n## idle\n\nold\n"


def test_a_missed_target_is_said() -> None:
    result = report.Result()
    result.add("start", "70 ms", "at most 50 ms", met=False)
    assert "MISSED" in report.plain(result)
    assert "**missed**" in report.section("startup", import_module("bench.startup"), result, quick=False)
