"""What can be said about a scene: captions, questions, referring phrases, edits.

Answers that could be guessed are balanced: yes and no come equally often whatever is asked about.
"""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .scenes import (
    BACKGROUND_NAMES,
    BACKGROUNDS,
    IMAGE_SIZE,
    MAX_OBJECTS,
    NATURAL,
    Scene,
    SceneObject,
    is_free,
    is_visible,
    place_object,
)
from .sprites import SPRITES
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

NUMBERS = ["no", "one", "two", "three", "four", "five"]
CELLS = ["top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right"]
CELL_BORDERS = (0.37, 0.63)  # of the image side
CLEARLY = 0.08  # of the image side: smaller differences in place are not asked about
CLEARLY_BIGGER = 1.2
STRANGE_SHARE = 0.3  # of absent things, in training
CANNOT_DRAW = "i can not draw that"
THERE_IS_NO = "there is no"
REFUSALS = (THERE_IS_NO, CANNOT_DRAW)  # how one begins
UNCOLORED = [name for name, can in zip(SPRITES.names, SPRITES.recolorable) if not can]

RELATIONS: dict[str, Callable[[SceneObject, SceneObject], float]] = {
    # How far `a` is into the relation with `b`, in pixels.
    "left of": lambda a, b: b.center[0] - a.center[0],
    "right of": lambda a, b: a.center[0] - b.center[0],
    "above": lambda a, b: b.center[1] - a.center[1],
    "below": lambda a, b: a.center[1] - b.center[1],
}


def relation_depth(words: str, a: SceneObject, b: SceneObject) -> float:
    """How far `a` is into the relation with `b` that the words speak of, in pixels; how much larger if of none."""
    depth = next((depth for relation, depth in RELATIONS.items() if relation in words), None)
    return depth(a, b) if depth else a.size - b.size


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


# --- naming -----------------------------------------------------------------------------------------------


def noun(o: SceneObject) -> str:
    return SPRITES.names[o.name]


def colored_noun(o: SceneObject) -> str:
    return noun(o) if o.color == NATURAL else f"{SPRITES.colors[o.color]} {noun(o)}"


def with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def a_thing(o: SceneObject) -> str:
    return with_article(colored_noun(o))


def a_placed_thing(o: SceneObject) -> str:
    return f"{a_thing(o)} at the {cell(o)}"


def plural(name: str) -> str:
    irregular = {"fish": "fish", "sheep": "sheep", "strawberry": "strawberries"}
    if name in irregular:
        return irregular[name]
    return name + ("es" if name.endswith(("x", "s", "ch")) else "s")


def cell_index(o: SceneObject) -> int:
    """One of nine cells, row-major, by the centre of the object."""
    column, row = (int(np.searchsorted(CELL_BORDERS, v / IMAGE_SIZE)) for v in o.center)
    return 3 * row + column


def cell(o: SceneObject) -> str:
    return CELLS[cell_index(o)]


def background_phrase(scene: Scene) -> str:
    return BACKGROUNDS[scene.background].phrase


def join(parts: list[str]) -> str:
    return " and ".join(", ".join(parts).rsplit(", ", 1))


def by_size(scene: Scene) -> list[SceneObject]:
    """The largest first: about the order of visual tokens, as far as it can be known without a tokenizer."""
    return sorted(scene.objects, key=lambda o: -o.size)


def caption(scene: Scene, objects: list[SceneObject] | None = None) -> str:
    """Names all objects, in another order than by size if one is given."""
    named = [a_thing(o) for o in objects or by_size(scene)]
    return f"{join(named)} {background_phrase(scene)}"


def dense_caption(scene: Scene, objects: list[SceneObject] | None = None) -> str:
    places = [a_placed_thing(o) for o in objects or by_size(scene)]
    return f"{join(places)}, {background_phrase(scene)}"


def unique_objects(scene: Scene) -> list[SceneObject]:
    """Objects that their noun alone identifies."""
    names = [o.name for o in scene.objects]
    return [o for o in scene.objects if names.count(o.name) == 1]


def loose_caption(s: Speaker, scene: Scene, objects: list[SceneObject]) -> str:
    """As people ask for a picture: some colors, some places, and at times the background."""
    named = []
    for o in objects:
        words = with_article(noun(o) if s.rng.random() < 0.3 else colored_noun(o))
        named.append(f"{words} at the {cell(o)}" if s.rng.random() < 0.2 else words)
    return f"{join(named)} {background_phrase(scene)}" if s.rng.random() < 0.5 else join(_counted(named))


def _counted(named: list[str]) -> list[str]:
    """Says "two cats" for "a cat" and "a cat" in a row; things of which the place is said are left alone."""
    counted = []
    for words, same in itertools.groupby(named):
        count = len(list(same))
        if count > 1 and " at the " not in words:
            counted.append(f"{NUMBERS[count]} {plural(words.split(' ', 1)[1])}")
        else:
            counted += [words] * count
    return counted


def absent_name(s: Speaker, scene: Scene) -> str:
    if s.carelessly(STRANGE_SHARE):
        return s.strange_name()
    present = {noun(o) for o in scene.objects}
    absent = [name for name in SPRITES.names if name not in present]
    return s.pick(absent)


# --- questions --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    kind: str
    question: str
    answer: str


def ask(speaker: Speaker, scene: Scene, kind: str) -> Question | None:
    """A question of a kind, or None when the scene does not allow one."""
    found = QUESTIONS[kind](speaker, scene)
    return found and Question(kind, *found)


def ask_any(speaker: Speaker, scene: Scene) -> Question:
    while True:
        question = ask(speaker, scene, speaker.pick([*QUESTIONS, *HARD_QUESTIONS]))
        if question:
            return question


def _exists(s: Speaker, scene: Scene):
    if s.rng.random() < 0.5:
        return s.say("exists", a_name=with_article(noun(s.pick(scene.objects)))), "yes"
    return s.say("exists", a_name=with_article(absent_name(s, scene))), "no"


def _count(s: Speaker, scene: Scene):
    return s.say("count"), NUMBERS[len(scene.objects)]


def _count_name(s: Speaker, scene: Scene):
    names = [noun(o) for o in scene.objects]
    name = absent_name(s, scene) if s.rng.random() < 0.25 else s.pick(names)
    repeated = [n for n in names if names.count(n) > 1]
    if repeated and s.rng.random() < 0.6:  # otherwise the answer would nearly always be "one"
        name = s.pick(repeated)
    return s.say("count_name", names=plural(name)), NUMBERS[names.count(name)]


def _color(s: Speaker, scene: Scene):
    colored = [o for o in unique_objects(scene) if o.color != NATURAL]
    if colored:
        o = s.pick(colored)
        return s.say("color", name=noun(o)), SPRITES.colors[o.color]


def _is_color(s: Speaker, scene: Scene):
    colored = [o for o in unique_objects(scene) if o.color != NATURAL]
    if colored:
        o = s.pick(colored)
        true = SPRITES.colors[o.color]
        other = s.pick([color for color in SPRITES.colors if color != true])
        truth = bool(s.rng.random() < 0.5)
        return s.say("is_color", name=noun(o), color=true if truth else other), "yes" if truth else "no"


def _absent(s: Speaker, scene: Scene):
    """A question about something that is not there."""
    name = absent_name(s, scene)
    return s.say(s.pick(["color", "place"]), name=name), refusal(name)


def _place(s: Speaker, scene: Scene):
    if unique := unique_objects(scene):
        o = s.pick(unique)
        return s.say("place", name=noun(o)), f"at the {cell(o)}"


def _at(s: Speaker, scene: Scene):
    cells = [cell_index(o) for o in scene.objects]
    alone = [o for o in scene.objects if cells.count(cell_index(o)) == 1]
    if s.rng.random() < (0.25 if s.careless else 0.15):  # training meets it more often: it was missed most
        empty = [name for i, name in enumerate(CELLS) if i not in cells]
        return s.say("at", cell=s.pick(empty)), "nothing"
    if alone:
        o = s.pick(alone)
        return s.say("at", cell=cell(o)), a_thing(o)


def _relation(s: Speaker, scene: Scene):
    """Yes and no equally often for either direction."""
    unique = unique_objects(scene)
    if len(unique) < 2:
        return None
    a, b = (unique[i] for i in s.rng.permutation(len(unique))[:2])
    truth = bool(s.rng.random() < 0.5)
    sign = 1 if truth else -1
    fitting = [r for r, depth in RELATIONS.items() if sign * depth(a, b) > CLEARLY * IMAGE_SIZE]
    if fitting:
        return s.say("relation", name=noun(a), relation=s.pick(fitting), other=noun(b)), "yes" if truth else "no"


def _neighbor(s: Speaker, scene: Scene):
    """The one object in a relation with another."""
    options = [
        (a, relation, b)
        for b in unique_objects(scene)
        for relation, depth in RELATIONS.items()
        for a in _objects_in_relation(scene, relation, b, depth)
    ]
    if options:
        a, relation, b = options[s.rng.integers(len(options))]
        return s.say("neighbor", relation=relation, name=noun(b)), a_thing(a)


def _objects_in_relation(scene: Scene, relation: str, b: SceneObject, depth) -> list[SceneObject]:
    """All objects clearly in the relation with `b` if that is exactly one and no other is nearly so."""
    others = [o for o in scene.objects if o is not b]
    inside = [o for o in others if depth(o, b) > CLEARLY * IMAGE_SIZE]
    nearly = [o for o in others if abs(depth(o, b)) <= CLEARLY * IMAGE_SIZE]
    return inside if len(inside) == 1 and not nearly else []


def _bigger(s: Speaker, scene: Scene):
    unique = unique_objects(scene)
    if len(unique) < 2:
        return None
    a, b = (unique[i] for i in s.rng.permutation(len(unique))[:2])
    big, small = max(a, b, key=lambda o: o.size), min(a, b, key=lambda o: o.size)
    if big.size >= CLEARLY_BIGGER * small.size:
        return s.say("bigger", name=noun(a), other=noun(b)), f"the {noun(big)}"


def _biggest(s: Speaker, scene: Scene):
    *rest, biggest = sorted(scene.objects, key=lambda o: o.size)
    if rest and biggest.size >= CLEARLY_BIGGER * rest[-1].size:
        return s.say("biggest"), f"the {colored_noun(biggest)}"


def _background(s: Speaker, scene: Scene):
    return s.say("background"), background_phrase(scene)


QUESTIONS = {
    "exists": _exists,
    "count": _count,
    "count_name": _count_name,
    "color": _color,
    "is_color": _is_color,
    "absent": _absent,
    "place": _place,
    "at": _at,
    "relation": _relation,
    "neighbor": _neighbor,
    "bigger": _bigger,
    "biggest": _biggest,
    "background": _background,
}
# Learned last, or first to be asked by people, so asked more often.
HARD_QUESTIONS = (
    *("exists", "place", "count_name") * 2,
    *("at", "bigger", "count", "neighbor", "relation"),
)


# --- referring --------------------------------------------------------------------------------------------


def refer(speaker: Speaker, scene: Scene, target: SceneObject) -> str | None:
    """A phrase that fits `target` and no other object of the scene; None when there is none."""
    objects = scene.objects
    same_name = [o for o in objects if o.name == target.name]
    candidates: list[tuple[str, list[SceneObject]]] = [
        (f"the {noun(target)}", same_name),
        (f"the {colored_noun(target)}", [o for o in same_name if o.color == target.color]),
        (f"the object at the {cell(target)}", [o for o in objects if cell(o) == cell(target)]),
        (f"the {noun(target)} at the {cell(target)}", [o for o in same_name if cell(o) == cell(target)]),
    ]
    if target.color != NATURAL:
        color = SPRITES.colors[target.color]
        candidates.append((f"the {color} object", [o for o in objects if o.color == target.color]))
    extremes = [
        ("leftmost", lambda o: -o.center[0]),
        ("rightmost", lambda o: o.center[0]),
        ("biggest", lambda o: o.size),
        ("smallest", lambda o: -o.size),
    ]
    for group, word in ((same_name, noun(target)), (objects, "object")):
        for adjective, key in extremes:
            if len(group) > 1:
                best = max(key(o) for o in group)
                near = [o for o in group if best - key(o) < 4]  # pixels: a draw is not an extreme
                candidates.append((f"the {adjective} {word}", near))
    for other in unique_objects(scene):
        for relation, depth in RELATIONS.items():
            if other is not target:
                fits = [o for o in same_name if o is not other and depth(o, other) > 0]
                if depth(target, other) > CLEARLY * IMAGE_SIZE:
                    candidates.append((f"the {noun(target)} {relation} the {noun(other)}", fits))
    phrases = list(dict.fromkeys(phrase for phrase, fits in candidates if len(fits) == 1 and fits[0] is target))
    return speaker.pick(phrases) if phrases else None


def refusal(name: str) -> str:
    """Words that the model does not know it does not say again."""
    return f"{THERE_IS_NO} {name if name in SPRITES.names else 'such thing'}"


# --- edits ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    kind: str
    instruction: str
    target: Scene
    sources: list[int]  # for each region of the target the same, unchanged region of the source, or -1


def edit_any(speaker: Speaker, scene: Scene) -> Edit:
    while True:
        kind = speaker.pick([*EDITS, *(HARD_EDITS if speaker.careless else ())])
        edited = copy.deepcopy(scene)
        instruction = EDITS[kind](speaker, edited)
        if instruction:
            return Edit(kind, instruction, edited, _unchanged_regions(scene, edited))


def _unchanged_regions(source: Scene, target: Scene) -> list[int]:
    regions = [source.objects.index(o) if o in source.objects else -1 for o in target.objects]
    same_background = (source.background, source.horizon) == (target.background, target.horizon)
    first = len(source.objects)
    return regions + [first + i if same_background else -1 for i in range(len(target.bands))]


def absent_edit(s: Speaker, scene: Scene) -> tuple[str, str]:
    """An instruction about something that is not there, and the answer."""
    name, kind = absent_name(s, scene), s.pick(["remove", "recolor", "replace", "move"])
    color = s.pick(SPRITES.colors)
    other = with_article(s.pick(SPRITES.names))
    return s.say(kind, phrase=f"the {name}", color=color, a_name=other, cell=s.pick(CELLS)), refusal(name)


def strange_drawing(s: Speaker, scene: Scene) -> tuple[str, str]:
    """A wish for a picture with something that cannot be drawn, and the answer."""
    o = s.pick(scene.objects)
    if s.rng.random() < 0.2:
        wanted = f"{s.pick(SPRITES.colors)} {s.pick(UNCOLORED)}"
    else:
        name = s.strange_name()
        wanted = f"{s.pick(SPRITES.colors)} {name}" if s.rng.random() < 0.3 else name
    is_alone = s.rng.random() < 0.5
    rest = caption(scene).replace(a_thing(o), with_article(wanted), 1)
    return s.say("draw", caption=with_article(wanted) if is_alone else rest), CANNOT_DRAW


def strange_edit(s: Speaker, scene: Scene) -> tuple[str, str]:
    """An instruction to draw what cannot be drawn, or to recolor what has its own colors, and the answer."""
    uncolored = [o for o in scene.objects if o.color == NATURAL]
    kind = s.pick(["add", "add_anywhere", "replace", *(["recolor"] if uncolored else [])])
    phrase = refer(s, scene, s.pick(uncolored if kind == "recolor" else scene.objects)) or "the object"
    parts = {"a_name": with_article(s.strange_name()), "color": s.pick(SPRITES.colors), "cell": s.pick(CELLS)}
    return s.say(kind, phrase=phrase, **parts), CANNOT_DRAW


def _pick_object(s: Speaker, scene: Scene) -> tuple[SceneObject, str] | None:
    o = s.pick(scene.objects)
    phrase = refer(s, scene, o)
    return (o, phrase) if phrase else None


def _remove(s: Speaker, scene: Scene) -> str | None:
    picked = _pick_object(s, scene)
    if picked and len(scene.objects) > 1:
        o, phrase = picked
        scene.objects = [other for other in scene.objects if other is not o]
        return s.say("remove", phrase=phrase)


def _add(s: Speaker, scene: Scene) -> str | None:
    if len(scene.objects) == MAX_OBJECTS:
        return None
    o = place_object(s.rng, scene, int(s.rng.integers(len(SPRITES.names))))
    if o and cell(o) not in [cell(other) for other in scene.objects]:
        scene.objects.append(o)
        kind = "add_anywhere" if s.carelessly(0.2) else "add"
        return s.say(kind, a_name=a_thing(o), cell=cell(o))


def _recolor(s: Speaker, scene: Scene) -> str | None:
    picked = _pick_object(s, scene)
    if picked and picked[0].color != NATURAL:
        o, phrase = picked
        before, o.color = o.color, int(s.rng.integers(len(SPRITES.colors)))
        if o.color != before and is_visible(scene, o):
            return s.say("recolor", phrase=phrase, color=SPRITES.colors[o.color])


def _replace(s: Speaker, scene: Scene) -> str | None:
    picked = _pick_object(s, scene)
    if picked:
        o, phrase = picked
        before, o.name = o.name, int(s.rng.integers(len(SPRITES.names)))
        o.color = int(s.rng.integers(len(SPRITES.colors))) if SPRITES.recolorable[o.name] else NATURAL
        if o.name != before and is_visible(scene, o):
            return s.say("replace", phrase=phrase, a_name=a_thing(o))


def _move(s: Speaker, scene: Scene) -> str | None:
    picked = _pick_object(s, scene)
    if picked:
        o, phrase = picked
        before = cell(o)
        o.x, o.y = (int(v) for v in s.rng.integers(0, IMAGE_SIZE - o.size + 1, 2))
        if cell(o) != before and is_free(scene.objects, o) and is_visible(scene, o):
            return s.say("move", phrase=phrase, cell=cell(o))


def _move_background(s: Speaker, scene: Scene) -> str | None:
    before, scene.background = scene.background, s.pick(BACKGROUND_NAMES)
    scene.horizon = float(s.rng.uniform(*BACKGROUNDS[scene.background].horizon))
    if scene.background != before and all(is_visible(scene, o) for o in scene.objects):
        return s.say("move_background", place=background_phrase(scene))


EDITS = {
    "remove": _remove,
    "add": _add,
    "recolor": _recolor,
    "replace": _replace,
    "move": _move,
    "move_background": _move_background,
}
# Often impossible or learned last, so tried more often in training.
HARD_EDITS = ("recolor", "recolor", "recolor", "replace", "move")
