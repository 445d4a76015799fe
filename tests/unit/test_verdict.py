"""The verdict follows from the kernel transfer, says what is open, and keeps silent where too little is learned."""

import re
from dataclasses import replace

import numpy as np
import pytest

from surroscope.diagnostics.signature import Estimate, signature
from surroscope.diagnostics.verdict import CONTROLS, LIMITS, Decay, Evidence, likened, moved, percent, rounded, verdict


def evidence(*pairs: float, times: float = 0.98) -> Evidence:
    names = [("a", "b"), ("a", "c"), ("b", "c")]
    return Evidence(
        pairs={pair: Estimate(v, v - 0.01, v + 0.01) for pair, v in zip(names, pairs, strict=False)},
        times=Estimate(times, times - 0.01, times + 0.01),
        training=((0.5, 0.9), (0.7, 0.95)),
        noises={0.1: (pairs, times)},
        decay=Decay(Estimate(3.0), 1.0, np.inf, 11),
        errors=(0.01, 0.03),
        seen=0.3,
        unseen=0.4,
        agreement=(0.9, np.nan),
        controls=True,
    )


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("pairs", "times", "label"),
    [
        ((0.95, 0.97, 0.99), 0.98, "times shared, classes shared"),
        ((0.7, 0.75, 0.97), 0.98, "times shared, classes partly shared"),
        ((0.1, 0.2, 0.97), 0.98, "times shared, classes partly shared"),
        ((0.0, 0.0, 0.1), 0.98, "times shared, classes kept apart"),
        ((0.95, 0.97, 0.99), 0.0, "times kept apart, classes shared"),
        ((0.5,), 0.5, "times partly shared, classes partly shared"),
    ],
)
def test_labels_follow_from_where_transfers_lie(pairs: tuple[float, ...], times: float, label: str) -> None:
    found = verdict(evidence(*pairs, times=times))
    assert found.label == label
    assert not re.search(r"\b(nan|inf)\b", " ".join([found.sentence, *found.details]))


def test_a_number_in_percent_stays_on_its_side_of_a_limit() -> None:
    shown = {0.9: "90", 0.42: "42", -0.004: "0", 1.06: "106", -0.03: "−3"}
    shown |= {0.897: "89.7", 0.8996: "89.96", 0.1999: "19.99"}
    assert {value: rounded(value) for value in shown} == shown
    assert plain(percent(0.897)) == "89.7 %"
    assert plain(percent(np.nan)) == "nan %"


def test_another_noise_gives_another_label_to_a_network_that_has_one() -> None:
    other = replace(evidence(0.95), noises={0.1: ([0.5], 0.98), 1.0: ([0.95], 0.98), 3.0: ([np.nan], 0.98)})
    assert moved(other) == ["with a noise of 0.1: times shared, classes partly shared", "with a noise of 3: undecided"]
    assert moved(replace(other, errors=(0.03, 0.03))) == []
    assert moved(replace(evidence(np.nan), noises=other.noises)) == []


def test_a_verdict_names_the_pairs_that_share_least_and_most() -> None:
    told = plain(verdict(evidence(0.7, 0.97, 0.75)).sentence)
    assert "98 % (97 % to 99 %) between the first and the last times" in told
    assert "from 70 % (69 % to 71 %), of a and b, to 97 % (96 % to 98 %), of a and c" in told


def test_of_a_single_class_nothing_between_classes_is_said() -> None:
    found = verdict(evidence())
    assert found.label == "times shared"
    said = plain(" ".join([found.sentence, *found.details]))
    assert "98 % (97 % to 99 %) between the first and the last times." in said
    assert "class" not in said.replace("within a class", "")
    label, sentence = signature(Estimate(3.0), None, 0.01, 0.03, 11)
    assert label == "coherent"
    assert "other classes" not in sentence


def test_how_a_network_is_meant_to_be_called_is_told_where_it_learned_too_little() -> None:
    weak = replace(evidence(0.9, 0.9, 0.9), errors=(0.05, 0.03), held_out=False)
    assert verdict(weak).sentence.endswith("this call, and no other that was tried halves the error.")
    weak = replace(weak, likelier="normalised its one-step error is 0.002")
    assert verdict(weak).sentence.endswith(
        "Not this network, these data or this call: normalised its one-step error is 0.002."
    )
    assert "Not this" not in verdict(replace(weak, errors=(0.01, 0.03))).sentence


@pytest.mark.parametrize(("known", "words"), [(True, "were held out from"), (False, "may have been trained on")])
def test_whether_a_network_of_others_saw_the_probe_trajectories_is_told_first(known: bool, words: str) -> None:
    told = replace(evidence(0.9, 0.9, 0.9), held_out=known)
    for of in (told, replace(told, errors=(0.05, 0.03)), replace(told, times=Estimate(np.nan))):
        assert words in verdict(of).details[0]
    assert not any("training saw" in line for line in verdict(told).details)
    assert not any("Leakage" in line for line in verdict(evidence(0.9, 0.9, 0.9)).details)


def test_nothing_is_said_of_a_network_that_learned_too_little() -> None:
    weak = verdict(replace(evidence(0.99, 0.99, 0.99), errors=(0.025, 0.03)))
    assert weak.label == "too weak to say"
    assert weak.details == []
    assert verdict(replace(evidence(0.99, 0.99, 0.99), errors=(np.nan, 0.03))).label == "too weak to say"


def test_what_is_open_is_told() -> None:
    sure = verdict(evidence(0.95, 0.97, 0.99))
    assert any(line.startswith("How sure") for line in sure.details)
    wide = evidence(0.95, 0.97, 0.99)
    # A pair that is not the median moves over the limit.
    pairs = wide.pairs | {("a", "b"): Estimate(0.92, 0.85, 0.99)}
    told = [
        plain(line) for line in verdict(replace(wide, pairs=pairs, noises={0.1: ((0.8, 0.97, 0.99), 0.98)})).details
    ]
    assert any(line.startswith("Not settled") and "a and b" in line and "times" not in line for line in told)
    another = "Another choice gives another label: with a noise of 0.1: times shared, classes partly shared."
    assert another in told
    assert not any(line.startswith("How sure") for line in told)


def test_one_unit_has_no_interval_and_says_so() -> None:
    bare = evidence(0.95, 0.97, 0.99)
    none = replace(bare, pairs={pair: Estimate(e.value) for pair, e in bare.pairs.items()}, times=Estimate(0.98))
    told = verdict(none).details
    assert "How sure: one seed with one probe batch has no interval." in told
    assert not any("no limit lies" in line for line in told)


def test_nothing_is_said_where_no_step_changes_anything() -> None:
    assert verdict(evidence(np.nan, 0.9, 0.9)).label == "undecided"


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (0.0, "classes", "0 %"),
        (0.2, "classes", "25 % to 50 %"),
        (0.6, "classes", "75 % to 100 %"),
        (0.95, "classes", "all, or reads more than theirs"),
        (0.7, "times", "50 % to 75 %"),
    ],
)
def test_controls_are_told_as_a_range_of_shares(value: float, kind: str, expected: str) -> None:
    assert plain(likened(value, kind)) == expected


def test_controls_of_another_system_are_not_told() -> None:
    assert not any("Controls" in line for line in verdict(replace(evidence(0.9), controls=False)).details)


@pytest.mark.parametrize(
    ("decay", "words"),
    [
        (Decay(Estimate(3.0), 1.0, np.inf, 11), "begins with the errors"),
        (Decay(Estimate(3.0), 1.0, 6.0, 11), "begins with the errors"),
        (Decay(Estimate(3.0), np.inf, np.inf, 11), "neither factor does it alone"),
        (Decay(Estimate(3.0), 1.0, 2.0, 11), "the network keeps times apart"),
        (Decay(Estimate(np.inf), 1.0, np.inf, 11), "does not halve within 11 steps"),
        (Decay(Estimate(np.nan), 1.0, np.inf, 11), "none to halve"),
    ],
)
def test_whose_the_decay_is(decay: Decay, words: str) -> None:
    assert any(words in line for line in verdict(replace(evidence(0.9, 0.9, 0.9), decay=decay)).details)


def test_missing_references_are_left_out() -> None:
    bare = verdict(replace(evidence(0.9, 0.9, 0.9), training=None, seen=np.nan, unseen=np.nan))
    assert not any(line.startswith(("Training", "Errors")) for line in bare.details)
    assert any("correlates 0.90 between seeds." in line for line in bare.details)


def test_controls_read_more_the_more_they_share() -> None:
    for readings in CONTROLS.values():
        assert list(readings) == sorted(readings)
        assert [low for low, _ in readings.values()] == sorted(low for low, _ in readings.values())
        assert readings[0.0] == (0.0, 0.0)
    assert 0 < LIMITS[0] < LIMITS[1] < 1
