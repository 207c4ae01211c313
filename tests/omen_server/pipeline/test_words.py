import pytest

from omen_server.pipeline.words import Lexicon, likeness, words_of
from tests.omen_server.pipeline.raw_events import RULES


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("Red Sea", ["red", "sea"]),
        ("Bab el-Mandeb, again!", ["bab", "el", "mandeb", "again"]),
        ("STRASSE straße", ["strasse", "strasse"]),
        ("\uff33\uff35\uff25\uff3a", ["suez"]),
        ("Öresund", ["öresund"]),
        ("O\u0308resund", ["öresund"]),
        ("snake_case", ["snake", "case"]),
        ("\ufb01re", ["fire"]),
    ],
)
def test_words_of(text: str, words: list[str]) -> None:
    """
    Words have one form each, however they are written.
    """
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("left", "right", "like"),
    [("a b c", "a b c", 1.0), ("a b", "c d", 0.0), ("a b c d", "a b e f", 1 / 3), ("a a b", "b a", 1.0), ("", "", 0.0)],
)
def test_likeness(left: str, right: str, like: float) -> None:
    """
    Likeness is that of the sets of words, not of letters: anagrams are not alike.
    """
    assert likeness(frozenset(words_of(left)), frozenset(words_of(right))) == like
    assert likeness(frozenset(words_of(right)), frozenset(words_of(left))) == like
    assert likeness(frozenset({"listen"}), frozenset({"silent"})) == 0.0


def test_longest_phrase_wins() -> None:
    """
    In one layer the longest phrase takes its words; another layer sees them all the same.
    """
    lexicon = Lexicon(
        [("place", "gulf", "g"), ("place", "gulf of mexico", ""), ("place", "mexico", "m"), ("other", "mexico", "o")]
    )
    assert lexicon.find(words_of("The Gulf of Mexico")) == {"other": {"mexico": ("o",)}}
    assert lexicon.find(words_of("Mexico, the gulf")) == {
        "place": {"mexico": ("m",), "gulf": ("g",)},
        "other": {"mexico": ("o",)},
    }


def test_phrase_of_several_meanings() -> None:
    """
    A phrase keeps all of its meanings, sorted, and is found once.
    """
    lexicon = Lexicon([("kind", "oil price", "b"), ("kind", "oil price", "a"), ("kind", "oil", "c")])
    assert lexicon.find(words_of("oil price, oil price; oil")) == {"kind": {"oil price": ("a", "b"), "oil": ("c",)}}


def test_phrase_at_the_end() -> None:
    """
    A phrase that the text breaks off is none.
    """
    assert RULES.lexicon.find(words_of("the red")) == {}


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("sport", "port"),
        ("support", "port"),
        ("airport", "port"),
        ("report", "port"),
        ("striker", "strike"),
        ("strikers", "strikes"),
        ("research", "sea"),
        ("warning", "war"),
        ("award", "war"),
        ("boil", "oil"),
        ("turmoil", "oil"),
        ("Europe", "euro"),
        ("urban", "ban"),
        ("friendship", "ship"),
        ("brainstorm", "storm"),
        ("trail", "rail"),
    ],
)
def test_no_word_inside_another(text: str, phrase: str) -> None:
    """
    A word inside of another is none, in any layer.
    """
    lexicon = Lexicon([("any", phrase, phrase)])
    assert lexicon.find(words_of(text)) == {}
    assert lexicon.find(words_of(phrase.upper())) == {"any": {phrase: (phrase,)}}
    assert "keyword" not in RULES.lexicon.find(words_of(text))


def test_every_phrase_is_found() -> None:
    """
    Each phrase of the ruleset, alone, is found or hidden as it says.
    """
    for group, phrases in RULES.terms.keywords.items():
        for phrase in phrases:
            assert group in RULES.lexicon.find(words_of(phrase))["keyword"][" ".join(words_of(phrase))], phrase
    for phrase in RULES.terms.not_keywords:
        assert "keyword" not in RULES.lexicon.find(words_of(phrase)), phrase
    for phrase in RULES.places.not_places:
        found = RULES.lexicon.find(words_of(phrase))
        assert "chokepoint" not in found, phrase
        assert "port" not in found, phrase
