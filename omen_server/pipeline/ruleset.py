"""
Every number and word of the rules, as one value with a version. Two rulesets that differ anywhere differ in `id`.

The id is part of every trace id, so a changed number mints new signals and never the old ones anew.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import orjson

from omen_server.pipeline import thresholds, vocabulary
from omen_server.pipeline.countries import COUNTRIES, NOT_COUNTRIES, Country
from omen_server.pipeline.gazetteer import CHOKEPOINTS, NOT_PLACES, PORTS, Chokepoint, Port
from omen_server.pipeline.profiles import SOURCES, SourceProfile
from omen_server.pipeline.weights import Classes, Confidence, Estimates
from omen_server.pipeline.words import Entry, Lexicon

# The order in which the rules are asked, each with the version of its code.
RULES: Final = (
    ("sanity", "1.0.0"),
    ("market_state", "1.0.0"),
    ("liquidity", "1.0.0"),
    ("anomaly", "1.0.0"),
    ("semantic", "1.0.0"),
    ("geographic", "1.0.0"),
    ("freshness", "1.0.0"),
    ("news_quality", "1.0.0"),
    ("price_context", "1.0.0"),
    ("traffic", "1.0.0"),
    ("cross_source", "1.0.0"),
    ("estimate", "1.0.0"),
)
# What judges a signal that all of them let through.
EMISSION: Final = ("confidence", "1.1.0")
# What tells how its category follows. It refuses nothing.
CATEGORY: Final = ("category", "1.0.0")


@dataclass(frozen=True, slots=True)
class Terms:
    """
    The words the rules look for.
    """

    keywords: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType(vocabulary.KEYWORD_GROUPS))
    not_keywords: tuple[str, ...] = vocabulary.NOT_KEYWORDS
    off_topic: tuple[str, ...] = vocabulary.OFF_TOPIC
    generic: tuple[str, ...] = vocabulary.GENERIC
    hazards: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(vocabulary.HAZARD_WORDS))


@dataclass(frozen=True, slots=True)
class Places:
    """
    The places the rules know.
    """

    chokepoints: tuple[Chokepoint, ...] = CHOKEPOINTS
    ports: tuple[Port, ...] = PORTS
    not_places: tuple[str, ...] = NOT_PLACES
    countries: tuple[Country, ...] = COUNTRIES
    not_countries: tuple[str, ...] = NOT_COUNTRIES


@dataclass(frozen=True)
class Ruleset:
    """
    All of them. A rule's own version is raised by hand when its code changes its meaning; the hash sees the rest.
    """

    version: str = "1.0.0"
    rules: tuple[tuple[str, str], ...] = RULES
    emission: tuple[str, str] = EMISSION
    category: tuple[str, str] = CATEGORY
    sources: Mapping[str, SourceProfile] = field(default_factory=lambda: MappingProxyType(SOURCES))
    sanity: thresholds.Sanity = field(default_factory=thresholds.Sanity)
    market: thresholds.Market = field(default_factory=thresholds.Market)
    liquidity: thresholds.Liquidity = field(default_factory=thresholds.Liquidity)
    anomaly: thresholds.Anomaly = field(default_factory=thresholds.Anomaly)
    semantic: thresholds.Semantic = field(default_factory=thresholds.Semantic)
    geographic: thresholds.Geographic = field(default_factory=thresholds.Geographic)
    freshness: thresholds.Freshness = field(default_factory=thresholds.Freshness)
    news: thresholds.News = field(default_factory=thresholds.News)
    prices: thresholds.Prices = field(default_factory=thresholds.Prices)
    traffic: thresholds.Traffic = field(default_factory=thresholds.Traffic)
    cross_source: thresholds.CrossSource = field(default_factory=thresholds.CrossSource)
    estimates: Estimates = field(default_factory=Estimates)
    confidence: Confidence = field(default_factory=Confidence)
    classes: Classes = field(default_factory=Classes)
    terms: Terms = field(default_factory=Terms)
    places: Places = field(default_factory=Places)

    @cached_property
    def id(self) -> str:
        """
        The version and the first 12 hex digits of the SHA-256 of every number and word: ``1.0.0+0123456789ab``.
        """
        return f"{self.version}+{hashlib.sha256(self.canonical()).hexdigest()[:12]}"

    def canonical(self) -> bytes:
        """
        Return the ruleset as JSON with sorted keys, the same bytes in every process.
        """
        return orjson.dumps(plain(self), option=orjson.OPT_SORT_KEYS)

    @cached_property
    def lexicon(self) -> Lexicon:
        """
        Every phrase of the ruleset, ready to be looked for.
        """
        return Lexicon(entries(self))

    @cached_property
    def region_of(self) -> Mapping[str, str]:
        """
        Each country's region by its code.
        """
        return {country.code: country.region for country in self.places.countries}


def plain(value: Any) -> Any:
    """
    Return a value of the ruleset as JSON has it.
    """
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(member) for key, member in value.items()}
    return [plain(member) for member in value] if isinstance(value, tuple) else value


def entries(rules: Ruleset) -> list[Entry]:
    """
    Return the ruleset's phrases by layer: keyword, off_topic, generic, category, chokepoint, port, country.
    """
    terms, places = rules.terms, rules.places
    listed = [("keyword", phrase, group) for group, phrases in terms.keywords.items() for phrase in phrases]
    listed += [("keyword", phrase, "") for phrase in terms.not_keywords]
    listed += [("off_topic", phrase, phrase) for phrase in terms.off_topic]
    listed += [("generic", phrase, phrase) for phrase in terms.generic]
    # A generic word inside of what is no keyword is no generic word either: the same reading in every layer.
    listed += [(layer, phrase, "") for layer in ("generic", "category") for phrase in terms.not_keywords]
    listed += [
        ("category", phrase, f"{name}:{weight}") for name, weight, phrases in rules.classes.terms for phrase in phrases
    ]
    listed += [("chokepoint", alias, place.id) for place in places.chokepoints for alias in place.aliases]
    listed += [("port", name, port.locode) for port in places.ports for name in port_names(port)]
    listed += [(layer, phrase, "") for layer in ("chokepoint", "port", "country") for phrase in places.not_places]
    listed += [("country", name, country.code) for country in places.countries for name in country.names]
    listed += [("country", phrase, "") for phrase in places.not_countries]
    return listed


def port_names(port: Port) -> list[str]:
    """
    Return what a text may call a port: most towns are more than their port, and count only as one.
    """
    names = [f"port of {port.name}", f"{port.name} port", f"{port.name} harbor", f"{port.name} harbour", port.locode]
    return [*names, port.name] if port.distinctive else names
