"""Who asks: chooses among the prompt templates, as neatly or as carelessly as people type."""

import numpy as np

from .templates import (
    BEGINNINGS,
    ENDINGS,
    HELD_OUT,
    OFF_TOPIC,
    OFF_TOPIC_ANSWER,
    PARAPHRASES,
    PATTERNS,
    PICTURE_WORDS,
    REQUESTS,
    SMALL_TALK,
    SMALL_WORDS,
    STRANGE_NAMES,
    TEMPLATES,
    VERBS,
    fill,
)


class Speaker:
    """Chooses templates: the usual ones, or only the held-out ones.

    `careless`, for training, talks as people do: puts sentences together from parts, leaves small words out, asks
    politely, asks for things that no picture shows, says less than could be said.
    """

    def __init__(self, rng: np.random.Generator, held_out_words: bool = False, careless: bool = False):
        self.rng, self.held_out_words, self.careless = rng, held_out_words, careless

    def say(self, kind: str, **parts: str) -> str:
        if self.held_out_words:
            return self.pick(HELD_OUT[kind]).format(**parts)
        words = self.pick(TEMPLATES[kind])
        if self.carelessly(0.3):
            words = self.pick(PARAPHRASES[kind])
        elif self.carelessly(0.6):
            words = fill(self.pick(PATTERNS[kind]), self.pick)
        words = self._vary(words)
        if words in HELD_OUT[kind]:  # by chance, as it was put together or shortened
            return self.say(kind, **parts)
        return words.format(**parts)

    def _vary(self, words: str) -> str:
        """As people type: another word for picture, no question mark, something before it or after it."""
        if self.rng.random() < 0.4:
            words = words.replace("picture", self.pick(PICTURE_WORDS))
        if self.rng.random() < 0.2:
            words = words.removesuffix("?")
        if self.carelessly(0.2):
            words = self._without_a_small_word(words)
        if words.split()[0] in VERBS and self.carelessly(0.15):
            words = f"{self.pick(REQUESTS)} {words}"
        if self.rng.random() < 0.12:
            words = f"{self.pick(BEGINNINGS)} {words}"
        if self.rng.random() < 0.06:
            words = f"{words} {self.pick(ENDINGS)}"
        return words

    def _without_a_small_word(self, words: str) -> str:
        """Whoever needs each word of a sentence does not understand one that is new."""
        parts = words.split()
        small = [i for i, part in enumerate(parts) if part in SMALL_WORDS]
        if small and len(parts) > 2:
            del parts[self.pick(small)]
        return " ".join(parts)

    def carelessly(self, share: float) -> bool:
        return self.careless and bool(self.rng.random() < share)

    def strange_name(self) -> str:
        """Something that no picture shows, half of the time a word that nobody knows."""
        if self.rng.random() < 0.5:
            return self.pick(STRANGE_NAMES)
        syllables = self.rng.integers(2, 4)
        sounds = ("bcdfghjklmnprstvwz", "aeiou", ["", "", "l", "m", "n", "r", "s", "t"])
        return "".join(self.pick(sound) for _ in range(syllables) for sound in sounds)

    def small_talk(self) -> tuple[str, str]:
        """What is said apart from pictures, and the answer."""
        if self.carelessly(0.4):
            return self._vary(self.pick(OFF_TOPIC)), OFF_TOPIC_ANSWER
        return self.pick(SMALL_TALK)

    def pick(self, choices):
        return choices[self.rng.integers(len(choices))]
