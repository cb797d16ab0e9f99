"""Packs of tasks: the same every time, and true of their scenes."""

import numpy as np

from training.data.scenes import CONCEPTS, sample_scene
from training.data.templates import HELD_OUT, HELD_OUT_STRANGE_NAMES
from training.data.text import caption, dense_caption
from training.evaluation.tasks import caption_things
from training.evaluation.tasks_pack import pack, pack_strange

COUNT = 24


def test_pack_is_the_same_every_time():
    (first, first_tasks), (again, again_tasks) = (pack("test", 4, held_out_words=False) for _ in range(2))
    assert first_tasks == again_tasks
    assert all((first[name] == again[name]).all() for name in first)


def test_truth_fits_the_scenes():
    arrays, tasks = pack("test", COUNT, held_out_words=False)
    for i, task in enumerate(tasks):
        objects = arrays["object_counts"][i]
        assert len(task["objects"]) == objects
        assert [CONCEPTS[n] for n in arrays["names"][i][:objects]] == [o["name"] for o in task["objects"]]
        assert all(r["region"] is None or r["region"] < objects for r in task["references"])
        assert task["edit"]["changed"] or task["edit"]["gone"]
        # What the edit does not touch looks the same before and after, and something does not.
        assert (arrays["images"][i] != arrays["edited_images"][i]).any()
        # A thing that is put somewhere stands in its box.
        region_map = arrays["edited_regions"][i]
        for place in task["edit"]["open"]:
            (new,), (left, top, right, bottom) = task["edit"]["changed"], place["box"]
            assert CONCEPTS[arrays["edited_names"][i][new]] == place["object"]["name"]
            y, x = np.nonzero(region_map == new)
            assert left <= x.min() and x.max() < right and top <= y.min() and y.max() < bottom
        for gone in task["edit"]["gone"]:
            assert CONCEPTS[arrays["names"][i][gone["region"]]] == gone["name"]


def test_a_caption_is_right_in_any_order_and_with_nothing_more_or_less():
    _, tasks = pack("test", COUNT, held_out_words=False)
    for i, task in enumerate(tasks):
        scene = sample_scene("test", i)
        turned = scene.objects[::-1]
        for asked, say in zip(task["captions"], (caption, dense_caption)):
            right, background = sorted(asked["things"]), asked["background"]
            assert caption_things(say(scene), background) == caption_things(say(scene, turned), background) == right
            assert caption_things(say(scene, [*turned, turned[0]]), background) != right
            assert caption_things(say(scene), "elsewhere") is None


def test_held_out_words_are_only_those():
    _, tasks = pack("test", COUNT, held_out_words=True)
    caption_kinds = {"count", "biggest", "background"}  # whose templates hold no name
    for question in (q for task in tasks for q in task["questions"] if q["kind"] in caption_kinds):
        assert question["question"] in HELD_OUT[question["kind"]]


def test_strange_things_are_refused():
    _, tasks = pack_strange("test", COUNT)
    for task in tasks:
        (phrase,) = (reference["phrase"] for reference in task["references"] if reference["region"] is None)
        name = phrase.removeprefix("the ")
        assert name in HELD_OUT_STRANGE_NAMES
        assert all(name in question["question"] for question in task["questions"])
        assert {q["answer"] for q in task["questions"]} == {"no", "there is no such thing", "i can not draw that"}


def test_regions_have_names():
    arrays, _ = pack("test", 4, held_out_words=False)
    for prefix in ("", "edited_"):
        shown = [np.unique(regions) for regions in arrays[f"{prefix}regions"]]
        assert all((names[regions] >= 0).all() for names, regions in zip(arrays[f"{prefix}names"], shown))
