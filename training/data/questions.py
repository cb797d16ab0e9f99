"""Questions about a scene, and their answers.

Answers that could be guessed are balanced: yes and no come equally often whatever is asked about.
"""

from dataclasses import dataclass

from .scenes import (
    IMAGE_SIZE,
    NATURAL,
    Scene,
    SceneObject,
)
from .speaker import Speaker
from .sprites import SPRITES
from .text import (
    CELLS,
    CLEARLY,
    NUMBERS,
    RELATIONS,
    a_thing,
    absent_name,
    background_phrase,
    cell,
    cell_index,
    colored_noun,
    noun,
    plural,
    refusal,
    unique_objects,
    with_article,
)

CLEARLY_BIGGER = 1.2


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
