"""
Text as the rules read it: words without case, and phrases that begin and end where a word does.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import floor
from typing import TypeAlias
from unicodedata import normalize

# By layer, the phrases found and what each of them means.
Found: TypeAlias = Mapping[str, Mapping[str, tuple[str, ...]]]
# A layer, a phrase, and what it means there. One without a meaning hides what stands inside it: "gulf of mexico".
Entry: TypeAlias = tuple[str, str, str]

_WORDS = re.compile(r"[^\W_]+").findall


def words_of(text: str) -> list[str]:
    """
    Return the text's words, NFKC-normalised and case-folded.
    """
    # Folding may undo the normal form, so it is made twice. Plain ASCII has only one form.
    folded = text.lower() if text.isascii() else normalize("NFKC", normalize("NFKC", text).casefold())
    return _WORDS(folded)


def likeness(left: frozenset[str], right: frozenset[str]) -> float:
    """
    Return the Jaccard index of two sets of words: 0 for nothing in common, 1 for the same.
    """
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared) if shared else 0.0


def rarest(words: Iterable[str], count_of: Callable[[str], int], least: float) -> list[str]:
    """
    Return the rarest of the words, just so many that whatever is at least that much alike has one of them.

    Texts so much alike share that share of the words, so that they share one of any few.
    """
    ordered = sorted(words, key=lambda word: (count_of(word), word))
    return ordered[: floor(len(ordered) * (1 - least) + 1e-9) + 1]


class Lexicon:
    """
    Phrases in layers, all of them looked for in one walk. In each layer the longest phrase at a place wins it.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        meanings: dict[tuple[str, tuple[str, ...]], set[str]] = {}
        for layer, phrase, meaning in entries:
            meanings.setdefault((layer, tuple(words_of(phrase))), set()).update({meaning} - {""})
        self._by_first: dict[str, list[tuple[str, list[str], int, str, tuple[str, ...]]]] = {}
        longest_first = sorted(meanings, key=lambda key: (-len(key[1]), key))
        for layer, words in longest_first:
            row = (layer, list(words), len(words), " ".join(words), tuple(sorted(meanings[layer, words])))
            self._by_first.setdefault(words[0], []).append(row)

    def meanings(self, layer: str, phrase: str) -> tuple[str, ...]:
        """
        Return what a phrase means in a layer; nothing where it is none of its phrases.
        """
        words = words_of(phrase)
        rows = self._by_first.get(words[0], ()) if words else ()
        return next((means for where, listed, _, _, means in rows if where == layer and listed == words), ())

    def find(self, words: Sequence[str]) -> Found:
        """
        Return every phrase among the words once.
        """
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        free_from: dict[str, int] = {}
        for at, word in enumerate(words):
            for layer, phrase, length, text, meanings in self._by_first.get(word, ()):
                if free_from.get(layer, 0) <= at and (length == 1 or words[at : at + length] == phrase):
                    free_from[layer] = at + length
                    if meanings:
                        found.setdefault(layer, {})[text] = meanings
        return found
