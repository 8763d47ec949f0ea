"""The wording of news: templates by category and sentiment whose slots are filled from lists of phrases.

It promises a text as a pure function of its arguments and the rows, and that a sentiment of exactly 0 gets
one of the neutral templates (low = high = 0), which claim nothing about a company. It knows no time.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from tickerd.market.catalogue import Headline, Phrase

HUNDREDTHS = 201  # sentiments from -1.00 to 1.00
MACRO = "macro"
BUILT_IN = ("name", "number", "fraction")
"""Slots that every universe has: who it is about, a whole number from 2 to 39, and one such as 4.7."""

_SLOT = re.compile(r"\{([a-z_]+)\}")
_MASK = 2**64 - 1
_MULTIPLIER = 0xD1342543DE82EF95  # of a 64-bit congruential generator (Steele and Vigna 2021)


class Grammar:
    """Writes headlines. `fault` says what is wrong with a template or a phrase before one is made."""

    def __init__(self, headlines: Sequence[Headline], phrases: Sequence[Phrase]) -> None:
        of_slots: dict[str, list[str]] = {
            "number": [str(2 + i) for i in range(38)],
            "fraction": [f"{2 + i % 12}.{i // 12}" for i in range(120)],
        }
        for phrase in phrases:
            of_slots.setdefault(phrase.slot, []).append(phrase.text)
        macro = [headline for headline in headlines if headline.category == MACRO]
        company = [headline for headline in headlines if headline.category != MACRO]
        templates = {headline: _template(headline, of_slots) for headline in headlines}
        self._fitting = [
            [
                [templates[each] for each in _fitting(group, (n - HUNDREDTHS // 2) / 100)]
                for n in range(HUNDREDTHS)
            ]
            for group in (company, macro)
        ]

    def headline(self, macro: bool, sentiment: float, name: str, choice: int) -> tuple[str, str]:
        """Text and category for a sentiment from -1 to 1; the 64 bits of `choice` settle which one."""
        fitting = self._fitting[macro][round(sentiment * 100) + HUNDREDTHS // 2]
        category, text, slots = fitting[choice % len(fitting)]
        filled = []
        for phrases in slots:
            if phrases is None:
                filled.append(name)
            else:
                # The upper bits of each state are as good as random.
                choice = (choice * _MULTIPLIER + 1) & _MASK
                filled.append(phrases[(choice >> 32) % len(phrases)])
        return _capitalised(text % tuple(filled)), category


class Template(NamedTuple):
    """A headline whose slots are found once, and not each time that it is filled."""

    category: str
    text: str  # with %s for each slot
    slots: list[list[str] | None]  # what may stand there; None for the name


def _template(headline: Headline, of_slots: dict[str, list[str]]) -> Template:
    literals = _SLOT.split(headline.text.replace("%", "%%"))
    slots = [None if slot == "name" else of_slots[slot] for slot in literals[1::2]]
    return Template(headline.category, "%s".join(literals[::2]), slots)


def _fitting(headlines: Sequence[Headline], sentiment: float) -> list[Headline]:
    """The templates for a sentiment; where none has it in its range, the nearest."""

    def distance(headline: Headline) -> float:
        if headline.low == headline.high == 0 != sentiment:
            return 3.0  # neutral ones are for 0 alone, if there are others
        return max(headline.low - sentiment, sentiment - headline.high, 0.0)

    if sentiment == 0:
        headlines = [headline for headline in headlines if headline.low == headline.high == 0]
    nearest = min(map(distance, headlines), default=0.0)
    return [headline for headline in headlines if distance(headline) == nearest]


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def template_fault(headline: Headline, slots: set[str]) -> str:
    """What is wrong with a template, or nothing; `slots` are those that have phrases."""
    if headline.low > headline.high:
        return f"low = {headline.low} is above high = {headline.high}"
    for slot in _SLOT.findall(headline.text):
        if slot not in slots and slot not in BUILT_IN:
            return (
                f"there are no phrases for {{{slot}}}; the slots are {', '.join(sorted({*slots, *BUILT_IN}))}"
            )
    if set(_SLOT.sub("", headline.text)) & {"{", "}"}:
        return "a brace that is part of no {slot}"
    if "{name}" not in headline.text:
        return "{name} is missing"
    return ""


def phrase_fault(phrase: Phrase) -> str:
    """What is wrong with a phrase, or nothing."""
    if phrase.slot in BUILT_IN:
        return f"{{{phrase.slot}}} needs no phrases"
    return "a phrase has no slots of its own" if set(phrase.text) & {"{", "}"} else ""
