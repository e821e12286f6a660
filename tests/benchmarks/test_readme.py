"""The README's figures are those of the results, and a table says what was missed."""

import json

import pytest


def test_pages_show_the_results_as_they_are():
    import readme

    for page in readme.PAGES:
        assert page.read_text(encoding="utf-8") == readme.current(page), page


@pytest.mark.parametrize("met", [True, False])
def test_a_missed_target_is_said(met):
    import tables
    from training_runs import RESULTS

    result = json.loads((RESULTS / "world_seeds.json").read_text(encoding="utf-8"))
    result["targets"]["composition, change"]["met"] = met
    line = next(line for line in tables.world_table(result).splitlines() if "composition" in line)
    assert ("+5.75 points: met" in line) == met
    assert ("**missed**" in line) != met
