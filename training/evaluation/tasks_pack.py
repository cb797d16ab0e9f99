"""Scenes with tasks and their true answers in one file, for the evaluation of the whole model in Rust.

    python -m training.evaluation.tasks_pack                              # new scenes
    python -m training.evaluation.tasks_pack --suite scenes-combo         # held-out things, colours and backgrounds
    python -m training.evaluation.tasks_pack --suite scenes-words         # held-out wordings
    python -m training.evaluation.tasks_pack --suite scenes-strange       # asked for things that no picture shows
    python -m training.evaluation.tasks_pack --suite easy-vqa             # the public benchmark: questions only

`setokim eval --suite NAME` looks for them in target/scenes.

Beside the arrays of `scenes_pack.py` for n scenes it holds those of the n edited scenes, with `edited_`
before their names, and in the file's metadata, under `tasks`, a JSON list with an entry for each scene:

    questions   [{kind, question, answer}]
    references  [{phrase, region}], region null when nothing matches
    captions    [{kind, question, things, background}]: asked for all that is to be seen, and for the same with where it
                is: what must be said of each thing, in any order, and of the background
    prompt      a caption that says where things are
    objects     [{name, color, cell}] that the caption names
    edit        {kind, instruction, changed}: the regions of the edited scene that are new,
    gone        [{region, name}]: the regions of the scene that the edit takes away, with what they showed, and
    open        [{object, box}]: new things of which only the cell is told ("at the left"), as above, and the left, top,
                right and bottom of all places that they may take
"""

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from ..data import easy_vqa
from ..data.edits import Edit, edit_any
from ..data.questions import QUESTIONS, ask
from ..data.scenes import CONCEPTS, IMAGE_SIZE, Scene, render_batch, sample_scene, scene_rng
from ..data.speaker import Speaker
from ..data.sprites import SPRITES
from ..data.templates import HELD_OUT_STRANGE_NAMES
from ..data.text import (
    CANNOT_DRAW,
    CELL_BORDERS,
    CELLS,
    NATURAL,
    a_placed_thing,
    a_thing,
    absent_name,
    background_phrase,
    cell,
    cell_index,
    dense_caption,
    noun,
    refer,
    refusal,
    with_article,
)
from .scenes_pack import pack_arrays

SUITES = ("scenes", "scenes-combo", "scenes-words", "scenes-strange", "easy-vqa")
QUESTIONS_PER_SCENE = 6
ABSENT_SHARE = 0.15  # of referring phrases that fit nothing
EVALUATION_STREAM = 2**33  # apart from the streams of scenes and of training sequences


def tasks_of(scene: Scene, split: str, index: int, held_out_words: bool) -> tuple[dict, Edit]:
    speaker = Speaker(scene_rng(split, EVALUATION_STREAM + index), held_out_words)
    edit = edit_any(speaker, scene)
    task = {
        "questions": questions(speaker, scene),
        "references": references(speaker, scene),
        "prompt": dense_caption(scene),
        "objects": [described(o) for o in scene.objects],
        "edit": {"kind": edit.kind, "instruction": edit.instruction, **changes(scene, edit)},
        "captions": captions(speaker, scene),
    }
    return task, edit


def captions(speaker: Speaker, scene: Scene) -> list[dict]:
    kinds = (("caption", "caption", a_thing), ("dense_caption", "dense", a_placed_thing))
    return [
        {
            "kind": kind,
            "question": speaker.say(template),
            "things": [say(o) for o in scene.objects],
            "background": background_phrase(scene),
        }
        for kind, template, say in kinds
    ]


def questions(speaker: Speaker, scene: Scene) -> list[dict]:
    """Of different kinds, as many as the scene allows; every kind equally often where it can be asked."""
    kinds = [list(QUESTIONS)[i] for i in speaker.rng.permutation(len(QUESTIONS))]
    asked = [question for kind in kinds if (question := ask(speaker, scene, kind))]
    return [vars(question) for question in asked[:QUESTIONS_PER_SCENE]]


def references(speaker: Speaker, scene: Scene) -> list[dict]:
    """One thing that is there and, now and then, one that is not."""
    target = int(speaker.rng.integers(len(scene.objects)))
    phrase = refer(speaker, scene, scene.objects[target])
    found = [{"phrase": phrase, "region": target}] if phrase else []
    if speaker.rng.random() < ABSENT_SHARE:
        found.append({"phrase": f"the {absent_name(speaker, scene)}", "region": None})
    return found


def described(o) -> dict:
    return {"name": noun(o), "color": None if o.color == NATURAL else SPRITES.colors[o.color], "cell": cell(o)}


def changes(scene: Scene, edit: Edit) -> dict:
    kept = set(edit.sources)
    names = scene.region_names()
    gone = [i for i in range(len(names)) if i not in kept]
    placed = [o for o in edit.target.objects if o not in scene.objects] if edit.kind in ("add", "move") else []
    return {
        "changed": [i for i, source in enumerate(edit.sources) if source < 0],
        "gone": [{"region": i, "name": CONCEPTS[names[i]]} for i in gone],
        "open": [{"object": described(o), "box": cell_box(o)} for o in placed],
    }


def cell_box(o) -> list[int]:
    """Everywhere that something of this size can be with its middle in the cell of `o`, in pixels."""
    borders = (0.0, *CELL_BORDERS, 1.0)
    row, column = divmod(cell_index(o), 3)
    low = [max(0, round(borders[i] * IMAGE_SIZE - o.size / 2)) for i in (column, row)]
    high = [min(IMAGE_SIZE, round(borders[i + 1] * IMAGE_SIZE + o.size / 2)) for i in (column, row)]
    return low + high


def pack(split: str, count: int, held_out_words: bool) -> tuple[dict[str, np.ndarray], list[dict]]:
    scenes = [sample_scene(split, index) for index in range(count)]
    tasks, edits = zip(*(tasks_of(scene, split, i, held_out_words) for i, scene in enumerate(scenes)))
    edited = pack_arrays(render_batch([edit.target for edit in edits]))
    arrays = pack_arrays(render_batch(scenes)) | {f"edited_{name}": array for name, array in edited.items()}
    return arrays, list(tasks)


def pack_strange(split: str, count: int) -> tuple[dict[str, np.ndarray], list[dict]]:
    """Whether what no picture shows, and training never named, is refused."""
    scenes = [sample_scene(split, index) for index in range(count)]
    tasks = [strange_tasks(Speaker(scene_rng(split, EVALUATION_STREAM + i)), scene) for i, scene in enumerate(scenes)]
    return pack_arrays(render_batch(scenes)), tasks


def strange_tasks(speaker: Speaker, scene: Scene) -> dict:
    name = speaker.pick(HELD_OUT_STRANGE_NAMES)
    phrase, wanted, cell = f"the {name}", with_article(name), speaker.pick(CELLS)
    asked = [
        ("strange_exists", speaker.say("exists", a_name=wanted), "no"),
        ("strange_place", speaker.say("place", name=name), refusal(name)),
        ("strange_remove", speaker.say("remove", phrase=phrase), refusal(name)),
        ("strange_add", speaker.say("add", a_name=wanted, cell=cell), CANNOT_DRAW),
    ]
    questions = [{"kind": kind, "question": question, "answer": answer} for kind, question, answer in asked]
    return {"questions": questions, "references": [{"phrase": phrase, "region": None}]}


def pack_easy_vqa(count: int) -> tuple[dict[str, np.ndarray], list[dict]]:
    asked = easy_vqa.questions("test")[:count]
    kinds = [[{"kind": easy_vqa.kind(q), "question": q, "answer": a} for q, a in pairs] for pairs in asked]
    tasks = [{"questions": questions, "references": []} for questions in kinds]
    return pack_arrays(easy_vqa.easy_batch("test", range(len(asked)))), tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", choices=SUITES, default="scenes")
    parser.add_argument("--split", choices=["val", "test"], default="test")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="default: target/scenes/SUITE-SPLIT.safetensors")
    arguments = parser.parse_args()
    suite, split = arguments.suite, arguments.split
    if suite in ("scenes-combo", "easy-vqa") and split != "test":
        parser.error(f"{suite} has only the split test")
    out = arguments.out or Path("target/scenes") / f"{suite}-{split}.safetensors"
    scenes = "test-combo" if suite == "scenes-combo" else split
    if suite == "easy-vqa":
        arrays, tasks = pack_easy_vqa(arguments.count)
    elif suite == "scenes-strange":
        arrays, tasks = pack_strange(split, arguments.count)
    else:
        arrays, tasks = pack(scenes, arguments.count, held_out_words=suite == "scenes-words")
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, out, metadata={"tasks": json.dumps(tasks)})
    print(out)


if __name__ == "__main__":
    main()
