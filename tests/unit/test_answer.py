"""The verdict in plain words: what it says of each place between the limits, and what to do next."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_verdict import evidence as found

from surroscope.diagnostics import answer
from surroscope.diagnostics.signature import Estimate
from surroscope.diagnostics.verdict import Evidence
from surroscope.report.words import settled


def evidence(*pairs: float, **told: Any) -> Evidence:
    """Of a network that is far better than no change."""
    return replace(found(*pairs, **told), errors=(0.005, 0.03))


@pytest.mark.parametrize(
    ("pairs", "times", "sentence"),
    [
        (
            (0.95, 0.97, 0.99),
            0.98,
            "the other times, and what it learns of one class of initial conditions reaches the other classes.",
        ),
        (
            (0.1, 0.2, 0.97),
            0.98,
            "times, and what it learns of one class of initial conditions reaches the other classes in part.",
        ),
        (
            (0.0, 0.0, 0.1),
            0.98,
            "times, but what it learns of one class of initial conditions does not reach the other classes.",
        ),
        (
            (0.95, 0.97),
            0.0,
            "does not reach the other times, but what it learns of one class of initial conditions reaches",
        ),
        ((), 0.5, "What it learns at one time reaches the other times in part."),
    ],
)
def test_the_answer_says_what_can_be_carried_over(pairs: tuple[float, ...], times: float, sentence: str) -> None:
    assert sentence in answer.answer(evidence(*pairs, times=times))


@pytest.mark.parametrize(
    ("error", "begins", "ends"),
    [
        (
            0.005,
            "One step errs 17 % as much as predicting no change; ",
            "pass the error of no change at step 13 (median).",
        ),
        (0.0126, "One step errs 42 % as much as predicting no change; ", "step 13 (median). A weak network."),
        (0.03, "", ""),
    ],
)
def test_the_error_stands_beside_that_of_no_change(error: float, begins: str, ends: str) -> None:
    about = replace(evidence(0.9), errors=(error, 0.03))
    said = answer.strength(about, 13.0)
    assert said.startswith(begins)
    assert said.endswith(ends)
    assert bool(said) == bool(ends)
    assert "rollouts" not in answer.strength(about, np.inf)


def test_of_a_weak_network_the_answer_says_so_and_asks_for_training_first() -> None:
    weak = replace(evidence(0.5), errors=(0.015, 0.03))
    assert answer.answer(weak).startswith("What little it has learned at one time")
    first, *_ = answer.advice(weak, trained_here=True)
    assert first.text.startswith("Train it further")
    assert not any("Train" in step.text for step in answer.advice(weak, trained_here=False))


def test_of_what_was_not_learned_or_is_not_known_nothing_is_said() -> None:
    assert "too little learned" in answer.answer(replace(evidence(0.9), errors=(0.03, 0.03)))
    assert "moves its predictions" in answer.answer(evidence(np.nan, 0.5))
    (bar, *_) = answer.bars(replace(evidence(0.9), times=Estimate(np.nan)))
    assert (bar.value, bar.low, bar.high) == (None, None, None)


def test_bars_are_of_times_and_of_the_classes_that_share_least_and_most() -> None:
    bars = answer.bars(evidence(0.7, 0.97, 0.75))
    assert [(bar.what, bar.value) for bar in bars] == [
        ("between the first and the last times", 0.98),
        ("a and b, which share least", 0.7),
        ("a and c, which share most", 0.97),
    ]
    assert [bar.what for bar in answer.bars(evidence(0.5))] == ["between the first and the last times", "a and b"]
    assert bars[0].low == pytest.approx(0.97)


def test_what_to_do_next_follows_from_what_was_found() -> None:
    def texts(of: Evidence, **known: Any) -> list[str]:
        return [f"{one.text}: {one.how}" for one in answer.advice(of, **known)]

    here = {"trained_here": True}
    partly = texts(evidence(0.7, 0.97, 0.75), **here)
    assert "Train without a and see what it does there: split: {held_out: {classes: [a]}}" in partly[0]
    assert not any("Train without" in text for text in texts(evidence(0.7, 0.97, 0.75), **here, held_out=["b"]))
    assert any("times: […" in text for text in texts(evidence(0.95, times=0.5), **here))
    assert texts(evidence(0.95, 0.95, 0.95), **here) == [
        f"Check it by training again without classes and times: {answer.PROOF}"
    ]
    wide = replace(evidence(0.95), times=Estimate(0.91, 0.8, 0.99))
    assert answer.unsettled(wide) == ["times"]
    assert any(text.startswith("Settle it") for text in texts(wide, **here))
    weak = replace(evidence(0.9), errors=(0.03, 0.03))
    assert texts(weak, **here)[0].startswith("Train longer")
    assert texts(weak, trained_here=False)[0].startswith("Look at how it is called")
    others = replace(evidence(0.5), held_out=False)
    assert [text for text in texts(others, trained_here=False) if "trained on" in text] == [
        "Say what it was trained on, so that errors are of what it has not seen: split: {trained: …}"
    ]


def test_without_an_interval_nothing_is_settled() -> None:
    bar = {"what": "times", "value": 0.95, "low": 0.92, "high": 0.98}
    told = {"label": "shared", "unsettled": [], "moved": [], "bars": [bar]}
    assert settled(told) == "settled, as far as intervals tell"
    assert settled(told | {"bars": [bar, bar | {"low": None, "high": None}]}).startswith("not settled: there")
    assert settled(told | {"unsettled": ["times", "a and b"]}).startswith("not settled for times; a and b, whose")
    others = ["with a noise of 0.01: times kept apart", "with a noise of 1: times shared"]
    assert settled(told | {"moved": others}).endswith(
        f"tell; another noise of the measure gives another label ({'; '.join(others)})"
    )
    assert settled(told | {"label": "too weak to say", "unsettled": ["times"]}) == "nothing to settle yet"
