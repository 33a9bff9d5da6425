"""The results in docs/backtest.md are those of the bundled companies."""

import importlib.util

import pytest

from csm_core.config import PROJECT_ROOT

spec = importlib.util.spec_from_file_location("backtest_results", PROJECT_ROOT / "scripts" / "backtest_results.py")
assert spec is not None
assert spec.loader is not None
results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(results)


@pytest.mark.slow
@pytest.mark.parametrize("company", list(results.DAYS))
def test_the_results_of_a_company_are_up_to_date(company, tmp_path):
    page = results.PAGE.read_text(encoding="utf-8")
    assert results.with_results(page, company, results.report(company, tmp_path)) == page


def test_a_result_replaces_the_earlier_one():
    page = "a\n<!-- results: acme -->\nold\n<!-- end: acme -->\nz\n"
    expected = "a\n<!-- results: acme -->\n\n```text\nnew\n```\n\n<!-- end: acme -->\nz\n"
    assert results.with_results(page, "acme", "new\n") == expected
    assert results.with_results(expected, "acme", "new\n") == expected
