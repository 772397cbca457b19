"""Contracts as data: windows, days on a command line, order of tables, what counts as a change."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from schemas import contract as contracts
from schemas.contract import Column, Contract, ContractError, Input, days_of, load, load_all, parse_days, quarantine_of, without_words

DAY = date(2026, 1, 5)


def table(name: str, *inputs: str) -> Contract:
    columns = (Column("day", "date", "Day."), Column("key", "string", "Key."))
    return Contract(name, ("key",), "us", 9, 1, "A table.", columns, inputs=tuple(Input(i) for i in inputs))


def only(monkeypatch: pytest.MonkeyPatch, *tables: Contract) -> None:
    by_name = {t.name: t for t in tables}
    monkeypatch.setattr(contracts, "table_names", lambda: sorted(by_name))
    monkeypatch.setattr(contracts, "load", by_name.__getitem__)


def test_windows_are_half_open_days_around_the_day_built():
    assert days_of((-2, 1), DAY) == [date(2026, 1, 3), date(2026, 1, 4), DAY]
    assert days_of((0, 1), DAY) == [DAY]
    assert days_of((-1, 0), date(2026, 3, 1)) == [date(2026, 2, 28)]
    assert days_of((0, 0), DAY) == []


def test_days_include_both_ends():
    assert parse_days("2026-01-01..2026-01-10") == (date(2026, 1, 1), date(2026, 1, 10))
    assert parse_days(" 2026-01-05 ") == (DAY, DAY)
    assert parse_days("2026-01-05..2026-01-05") == (DAY, DAY)


@pytest.mark.parametrize(
    "text", ["", "2026-1-5", "2026-01-05..", "2026-02-30", "2026-01-01..2026-01-32", "2026-01-01 2026-01-02", "20260105"]
)
def test_days_that_cannot_be_read_show_the_form(text):
    with pytest.raises(ValueError, match=r"must be A\.\.B with both ends included, as 2026-01-01\.\.2026-01-10"):
        parse_days(text)


def test_days_the_wrong_way_round_are_shown_the_right_way():
    with pytest.raises(ValueError, match=r"write 2026-01-01\.\.2026-01-02"):
        parse_days("2026-01-02..2026-01-01")


def test_an_unknown_table_is_told_which_there_are():
    with pytest.raises(ContractError, match=r"no table 'orders'.*attributions, entire_space, events, hhsft_examples, items"):
        load("orders")


def test_every_table_is_found_by_its_file_and_comes_after_its_inputs():
    names = [c.name for c in load_all()]
    assert {"requests", "events", "items", "attributions", "query_item_stats", "entire_space"} <= set(names) == set(contracts.table_names())
    late = [(c.name, i.table) for c in load_all() for i in c.inputs if names.index(i.table) > names.index(c.name)]
    assert late == []
    kinds = [c.is_raw for c in load_all()]
    assert kinds == sorted(kinds, reverse=True), "raw tables come first"


def test_tables_are_ordered_by_what_they_read_and_then_by_name(monkeypatch):
    only(monkeypatch, table("a", "z"), table("b", "raw"), table("raw"), table("z", "b"))
    assert [c.name for c in load_all()] == ["raw", "b", "z", "a"]
    only(monkeypatch, table("ba", "raw"), table("ab", "raw"), table("raw"), table("other"))
    assert [c.name for c in load_all()] == ["other", "raw", "ab", "ba"]


def test_tables_that_read_each_other_in_a_circle_are_named(monkeypatch):
    only(monkeypatch, table("a", "b"), table("b", "c"), table("c", "a"), table("raw"), table("fine", "raw"))
    with pytest.raises(ContractError, match=r"in a circle: a, b, c$"):
        load_all()


def test_a_better_sentence_is_no_change_and_a_promise_is():
    contract = load("entire_space")
    reworded = replace(
        contract, doc="Other.", source="", owner="me", keep_days=1, columns=tuple(replace(c, doc="?") for c in contract.columns)
    )
    assert without_words(reworded) == without_words(contract)
    promises = [
        replace(contract, version=2),
        replace(contract, matures_after=9),
        replace(contract, inputs=contract.inputs[1:]),
        replace(contract, columns=tuple(replace(c, nullable=True) for c in contract.columns)),
        replace(contract, columns=contract.columns[::-1]),
    ]
    assert [p for p in promises if without_words(p) == without_words(contract)] == []


def test_quarantine_has_one_schema_whatever_the_table():
    contracts_of = [quarantine_of(c) for c in load_all()]
    assert len({c.columns for c in contracts_of}) == 1
    assert [c.name for c in contracts_of[0].columns] == ["day", "run_id", "rule", "key", "element", "row", "reason"]
    assert contracts_of[0].column("row").personal
    assert quarantine_of(load("events")).name == "events_quarantine"


def test_every_input_of_a_contract_is_a_table_with_a_finite_window():
    derived = [c for c in load_all() if not c.is_raw]
    assert len(derived) >= 4
    for contract in derived:
        assert contract.columns[0].name == "day" and all(contract.column(c) for c in contract.grain)
        for each in contract.inputs:
            assert each.window[0] < each.window[1] and timedelta(days=each.window[1] - each.window[0]) < timedelta(days=400)
            assert load(each.table) and contract.input(each.table) is each
