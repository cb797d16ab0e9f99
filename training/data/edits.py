"""Edits of a scene: what is asked for, and the scene that it makes."""

import copy
from dataclasses import dataclass

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
from .speaker import Speaker
from .sprites import SPRITES
from .text import (
    CANNOT_DRAW,
    CELLS,
    a_thing,
    absent_name,
    background_phrase,
    caption,
    cell,
    refer,
    refusal,
    with_article,
)

UNCOLORED = [name for name, can in zip(SPRITES.names, SPRITES.recolorable) if not can]


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


def strange_generation(s: Speaker, scene: Scene) -> tuple[str, str]:
    """A request for a picture with something that cannot be generated, and the answer."""
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
    """An instruction to add what cannot be generated, or to recolor what has its own colors, and the answer."""
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
