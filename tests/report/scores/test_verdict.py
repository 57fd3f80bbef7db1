import pytest

from medseg.report.scores.verdict import PairedDifference, headline_of, sentence_of


def difference(label="liver", winner=None, **changes):
    facts = {
        "label": label, "first": "old", "second": "new", "n": 60, "first_mean": 0.88,
        "second_mean": 0.91, "difference": -0.03, "ci_low": -0.05, "ci_high": -0.01, "p": 0.001,
        "p_holm": 0.002, "winner": winner, "sentence": "",
    }  # fmt: skip
    return PairedDifference(**(facts | changes))


@pytest.mark.parametrize(
    ("found", "metric", "text"),
    [
        (
            difference(winner="new"),
            "dice",
            "new is better than old on liver: Dice 0.910 against 0.880, difference +0.0300 "
            "(95 %: +0.0100 to +0.0500), p = 0.002, 60 cases.",
        ),
        (
            difference(label="mean", p_holm=0.0001, winner="old"),
            "hd95",
            "old is better than new over all structures: HD95 0.88 against 0.91 mm, difference "
            "-0.030 (95 %: -0.050 to -0.010), p < 0.001, 60 cases.",
        ),
        (
            difference(n=1, ci_low=None, ci_high=None, p_holm=1.0),
            "dice",
            "old and new cannot be told apart on liver: Dice 0.880 against 0.910, difference "
            "-0.0300, p = 1.000, 1 case; 1 case is too few for any test.",
        ),
        (difference(n=0), "dice", "old and new have no case in common on liver."),
    ],
)
def test_a_difference_in_words(found, metric, text):
    assert sentence_of(found, metric).sentence == text


def test_the_headline_names_who_wins_where():
    pairs = [difference("liver", "new"), difference("spleen"), difference("mean")]
    text = headline_of(("old", "new"), ("liver", "spleen"), pairs, "dice", 60)
    assert text == (
        "The data cannot tell old and new apart by Dice on 60 cases. "
        "By structure: new wins on liver; nobody on spleen."
    )


def test_many_structures_are_shortened():
    labels = tuple(f"s{n}" for n in range(9))
    pairs = [*(difference(label, "new") for label in labels), difference("mean", "new")]
    text = headline_of(("old", "new"), labels, pairs, "dice", 1)
    assert text.startswith("new is better than old by Dice on 1 case. ")
    assert "s4, s5 and 3 more" in text
