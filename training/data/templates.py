"""Prompt templates: how people may ask for what a scene gives rise to, and what they say besides.

The sentences are data, in `templates/`: a request has a kind ("caption", "count", ...), and braces in it are filled in
by whoever knows the scene.
"""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path


def _read(name: str) -> dict:
    return tomllib.loads((Path(__file__).with_name("templates") / f"{name}.toml").read_text())


TEMPLATES: dict[str, list[str]] = _read("usual")
PARAPHRASES: dict[str, list[str]] = _read("paraphrases")
HELD_OUT: dict[str, list[str]] = _read("held_out")

_patterns = _read("patterns")
PATTERNS: dict[str, list[str]] = _patterns["patterns"]
PARTS: dict[str, list[str]] = _patterns["parts"]

_phrases = _read("phrases")
BEGINNINGS: list[str] = _phrases["beginnings"]
ENDINGS: list[str] = _phrases["endings"]
SMALL_WORDS = frozenset(_phrases["small_words"])
PICTURE_WORDS: list[str] = _phrases["picture_words"]
REQUESTS: list[str] = _phrases["requests"]
VERBS = frozenset(_phrases["verbs"])
SMALL_TALK: list[tuple[str, str]] = [(text, answer) for text, answer in _phrases["small_talk"]]
OFF_TOPIC: list[str] = _phrases["off_topic"]
OFF_TOPIC_ANSWER: str = _phrases["off_topic_answer"]
STRANGE_NAMES: list[str] = _phrases["strange_names"]
HELD_OUT_STRANGE_NAMES: list[str] = _phrases["held_out_strange_names"]

_CHOICE = re.compile(r"\[([^\[\]]*)\]")  # the innermost


def fill(pattern: str, pick: Callable[[list[str]], str]) -> str:
    """The pattern with one of each choice, by `pick` from a list; placeholders in braces stay."""
    while choice := _CHOICE.search(pattern):
        options = PARTS.get(choice[1]) or choice[1].split("|")
        pattern = pattern[: choice.start()] + pick(options) + pattern[choice.end() :]
    text = " ".join(pattern.split())
    return re.sub(r" ([,:?])", r"\1", text)
