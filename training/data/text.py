"""What can be said about a scene: names, captions, referring phrases, refusals."""

import itertools
from collections.abc import Callable

import numpy as np

from .scenes import (
    BACKGROUNDS,
    IMAGE_SIZE,
    NATURAL,
    Scene,
    SceneObject,
)
from .speaker import Speaker
from .sprites import SPRITES

NUMBERS = ["no", "one", "two", "three", "four", "five"]
CELLS = ["top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right"]
CELL_BORDERS = (0.37, 0.63)  # of the image side
CLEARLY = 0.08  # of the image side: smaller differences in place are not asked about
STRANGE_SHARE = 0.3  # of absent things, in training
CANNOT_DRAW = "i can not draw that"
THERE_IS_NO = "there is no"
REFUSALS = (THERE_IS_NO, CANNOT_DRAW)  # how one begins

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
