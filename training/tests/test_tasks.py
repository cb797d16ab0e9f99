import copy
import dataclasses
import itertools
import math
import re
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from training.data.edits import EDITS, edit_any, strange_edit, strange_generation
from training.data.questions import QUESTIONS, ask, ask_any
from training.data.renderer import Layouts, Renderer
from training.data.scenes import IMAGE_SIZE, NATURAL, SceneObject, sample_scene
from training.data.speaker import Speaker
from training.data.special_tokens import SpecialTokens
from training.data.sprites import SPRITES
from training.data.tasks import IGNORE, SINGULAR, TASK_SHARES, Sequence, edited_tokens
from training.data.templates import (
    HELD_OUT,
    HELD_OUT_STRANGE_NAMES,
    PARAPHRASES,
    PATTERNS,
    SMALL_WORDS,
    STRANGE_NAMES,
    TEMPLATES,
    fill,
)
from training.data.text import CELLS, a_thing, absent_name, loose_caption, noun, refer, refusal, relation_depth
from training.data.vocabulary import train_vocabulary
from training.model import SeTok
from training.model.checkpoints import load_setokim
from training.model.detokenizer import composite_layers
from training.model.llm import LlmConfig
from training.model.setokim import Setokim, SetokimConfig
from training.stages.distributed import Workers
from training.stages.losses import feature_loss, layer_losses, sprite_layers
from training.stages.sampler import TaskLoader, TaskSampler, encode_images
from training.stages.stage2 import (
    Stage2,
    Stage2Settings,
    load_heads,
    placing_loss,
    read_by_length,
    replace_tokenizer,
)
from training.stages.stage4 import Stage4, Stage4Settings, add_layers
from training.stages.stage5 import Stage5, Stage5Settings
from training.tests.test_stage1 import THIN

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def text():
    return train_vocabulary(320, scenes=10)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlmConfig(vocab_size=320, hidden_size=16, intermediate_size=24, num_hidden_layers=1)
    return Setokim(SeTok(THIN), SetokimConfig(llm=dataclasses.replace(config, num_attention_heads=2)))


PLACEHOLDERS = "name names other a_name phrase caption cell color relation place".split()  # noqa: SIM905


@pytest.mark.parametrize("kind", TEMPLATES)
def test_held_out_templates_are_never_used_otherwise(kind):
    parts = {part: "{" + part + "}" for part in PLACEHOLDERS}
    careless, special = Speaker(np.random.default_rng(0), careless=True), Speaker(np.random.default_rng(0), True)
    assert not set(HELD_OUT[kind]) & {careless.say(kind, **parts) for _ in range(2000)}
    assert set(HELD_OUT[kind]) == {special.say(kind, **parts) for _ in range(100)}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_paraphrases_name_what_templates_name_and_are_none_of_those_held_out(kind):
    def plain(templates):
        return {re.sub(r"[^a-z_{} ]", "", words) for words in templates}

    assert len(PARAPHRASES[kind]) >= 40 and not plain(PARAPHRASES[kind]) & plain(HELD_OUT[kind])
    assert {named(words) for words in PARAPHRASES[kind]} == {named(TEMPLATES[kind][0])}


def named(words):
    return tuple(sorted(re.findall(r"{\w+}", words)))


@pytest.mark.parametrize("kind", TEMPLATES)
def test_patterns_name_what_templates_name(kind):
    speaker = Speaker(np.random.default_rng(0))
    for pattern in PATTERNS[kind]:
        for _ in range(20):
            words = fill(pattern, speaker.pick)
            assert named(words) == named(TEMPLATES[kind][0]) and not set(words) & set("[]|"), pattern


def test_careless_speakers_leave_out_small_words_and_nothing_else():
    speaker = Speaker(np.random.default_rng(0), careless=True)
    for words in itertools.chain.from_iterable(TEMPLATES.values()):
        rest = speaker._without_a_small_word(words).split()
        missing = Counter(words.split()) - Counter(rest)
        assert set(missing) <= SMALL_WORDS and missing.total() <= 1 and len(rest) >= min(2, len(words.split()))


def test_strange_things_are_no_sprites_and_those_held_out_are_never_named():
    names = [*STRANGE_NAMES, *HELD_OUT_STRANGE_NAMES]
    assert not set(names) & set(SPRITES.names) and len(set(names)) == len(names)
    speaker, scene = Speaker(np.random.default_rng(0), careless=True), sample_scene("train", 0)
    held_out = set(HELD_OUT_STRANGE_NAMES)
    for _ in range(300):
        for words, answer in (strange_generation(speaker, scene), strange_edit(speaker, scene)):
            assert answer == "i can not draw that" and not held_out & set(words.split())
        name = absent_name(speaker, scene)
        assert (refusal(name) == f"there is no {name}") == (name in SPRITES.names) and name not in held_out


def test_loose_captions_count_what_follows_upon_its_like():
    scene = sample_scene("train", 0)
    cat = scene.objects[0]
    said = {loose_caption(Speaker(np.random.default_rng(i)), scene, [cat, cat]) for i in range(200)}
    assert any(words.startswith("two ") for words in said)
    assert any(words.startswith("a ") and words.count(" at the ") == 2 for words in said)
    assert not any(words.count(cell) for words in said if words.startswith("two ") for cell in CELLS)


def test_yes_and_no_are_balanced():
    answers = Counter()
    for index in range(600):
        speaker = Speaker(np.random.default_rng(index))
        for kind in ("exists", "relation"):
            question = ask(speaker, sample_scene("train", index), kind)
            if question:
                answers[kind, question.answer] += 1
    for kind in ("exists", "relation"):
        yes, no = answers[kind, "yes"], answers[kind, "no"]
        assert 0.4 < yes / (yes + no) < 0.6


def test_every_kind_of_question_and_edit_occurs():
    questions, edits = Counter(), Counter()
    for index in range(300):
        speaker, scene = Speaker(np.random.default_rng(index)), sample_scene("train", index)
        questions[ask_any(speaker, scene).kind] += 1
        edits[edit_any(speaker, scene).kind] += 1
    assert set(questions) == set(QUESTIONS) and set(edits) == set(EDITS)


def test_an_edit_leaves_its_source_alone_and_names_what_stays():
    for index in range(100):
        scene = sample_scene("train", index)
        before = str(scene)
        edit = edit_any(Speaker(np.random.default_rng(index)), scene)
        assert str(scene) == before and str(edit.target) != before
        for target, source in enumerate(edit.sources[: len(edit.target.objects)]):
            if source >= 0:
                assert edit.target.objects[target] == scene.objects[source]


def test_a_referring_phrase_by_name_fits_one_object():
    for index in range(200):
        scene = sample_scene("train", index)
        names = [o.name for o in scene.objects]
        phrase = refer(Speaker(np.random.default_rng(index)), scene, scene.objects[0])
        if names.count(names[0]) > 1 and phrase:
            assert len(phrase.split()) > 2  # "the dog" alone would not do


@pytest.mark.parametrize("kind", TASK_SHARES[3])
def test_sequences_are_well_formed(model, text, kind):
    batch = TaskSampler(model, text, {kind: 1.0}).batch("train", 0, 3)
    special = model.config.special_tokens
    for b, sequence in enumerate(batch.sequences):
        assert sequence.ids[0] == special.begin and sequence.ids[-1] == special.end
        assert all(label in (IGNORE, token) for label, token in zip(sequence.labels, sequence.ids))
        assert any(label != IGNORE for label in sequence.labels)
        assert sequence.ids.count(special.image_start) == sequence.ids.count(special.image_end)
        for position, visual in enumerate(sequence.visual):
            assert (visual is None) == (sequence.slots[position] < 0)
            if visual:
                assert torch.equal(batch.visual[b, position], batch.encoded.tokens[visual])


def test_a_noun_is_known_where_it_ends(model, text):
    sampler = TaskSampler(model, text, TASK_SHARES[3])
    found = 0
    for kind in ("chat", "caption", "segment", "edit", "generate"):
        batch = sampler.batch("train", 0, 12, kind)
        for sequence in batch.sequences:
            scene = batch.contents.scenes[sequence.image]
            assert kind != "generate" or not sequence.mentions
            for position, image, region in sequence.mentions:
                heard = text.decode(sequence.ids[: position + 1], skip_special_tokens=False)
                assert heard.endswith(noun(scene.objects[region])) and image == sequence.image
                found += 1
    assert found > 50


def test_what_is_heard_is_counted_whether_it_is_there_or_not(model, text):
    sampler, numbers = TaskSampler(model, text, TASK_SHARES[3]), Counter()
    for kind in ("chat", "segment", "edit", "generate"):
        batch = sampler.batch("train", 0, 24, kind)
        for sequence in batch.sequences:
            names = [noun(o) for o in batch.contents.scenes[sequence.image].objects]
            assert kind != "generate" or not sequence.counted
            for position, number in sequence.counted:
                heard = text.decode(sequence.ids[: position + 1], skip_special_tokens=False)
                name = next(name for form, name in SINGULAR.items() if re.search(rf"\b{form}$", heard))
                assert number == names.count(name) and sequence.labels[position] == IGNORE
                numbers[number] += 1
    assert numbers[0] > 20 and numbers[1] > 20 and numbers[2] > 2


def test_a_caption_names_things_in_the_order_of_their_tokens(model, text):
    batch, named_things = TaskSampler(model, text, TASK_SHARES[3]).batch("train", 0, 24, "caption"), 0
    for sequence in batch.sequences:
        scene, seen = batch.contents.scenes[sequence.image], batch.contents.regions[sequence.image]
        *things, background = [region for _, _, region in sequence.meant]
        assert things == sorted(set(seen) & set(range(len(scene.objects))), key=seen.index)
        assert background == len(scene.objects)
        for before, _, region in sequence.meant[:-1]:
            named = text.decode(sequence.ids[before + 1 :], skip_special_tokens=False)
            assert named.startswith(a_thing(scene.objects[region]))
            named_things += 1
    assert named_things > 10


def test_an_edit_copies_what_did_not_change():
    """A thing goes and its background stays; the other way round; and a thing that the clustering cut in two."""
    images = SimpleNamespace(counts=[2, 2, 3], regions=[[1, 0, -1], [0, 1, -1], [0, 1, 0]])
    assert edited_tokens(images, 0, 1, SimpleNamespace(sources=[-1, 1])) == ([(0, 0)], [(1, 0)])
    assert edited_tokens(images, 0, 1, SimpleNamespace(sources=[0, -1])) == ([(0, 1)], [(1, 1)])
    assert edited_tokens(images, 2, 1, SimpleNamespace(sources=[0, -1])) == ([(2, 0), (2, 2)], [(1, 1)])


def test_an_edited_picture_is_copied_first_and_drawn_last(text):
    special = SpecialTokens()
    sequence = Sequence(special, text, image=0)
    sequence.answer_image(generated=[(1, 0), (1, 3)], copied=[(0, 0), (0, 2)])
    keep, written = special.keep_first, slice(2, 6)
    assert sequence.ids[written] == [keep, keep + 2, special.visual, special.visual]
    assert sequence.visual[written] == [(0, 0), (0, 2), (1, 0), (1, 3)] and sequence.slots[written] == [0, 1, 2, 3]


def test_reading_by_length_is_reading(model, text):
    batch = TaskSampler(model, text, TASK_SHARES[3]).batch("train", 0, 10)
    hidden, states = model.read(batch.targets.ids, batch.targets.slots, batch.visual)
    grouped, grouped_states = read_by_length(model, batch)
    assert len(states) == len(grouped_states)
    for b, sequence in enumerate(batch.sequences):
        end = len(sequence.ids)
        torch.testing.assert_close(grouped[b, :end], hidden[b, :end])
        torch.testing.assert_close(grouped_states[-1][b, :end], states[-1][b, :end])


def test_other_processes_write_the_same(model, text):
    here, ahead = (TaskLoader(model, text, TASK_SHARES[3], 8, processes) for processes in (0, 2))
    sampled = TaskSampler(model, text, TASK_SHARES[3])
    for first in (8, 16, 24, 800):  # and one that nobody expected
        a, b, c = here.batch(first, 8), ahead.batch(first, 8), sampled.batch("train", first, 8)
        for other in (b, c):
            assert torch.equal(a.targets.ids, other.targets.ids) and torch.equal(a.visual, other.visual)
            assert torch.equal(a.targets.named["naming"].boxes, other.targets.named["naming"].boxes)
            assert torch.equal(a.targets.compared.claim, other.targets.compared.claim)
    ahead.prefetcher.close()


@pytest.mark.parametrize(("stage", "finish"), [(2, False), (3, False), (3, True)])
def test_resume_takes_the_same_step(tmp_path, model, text, stage, finish):
    workers, settings = Workers("cpu"), Stage2Settings(stage=stage, finish=finish, steps=4, batch=6, warmup_steps=1)
    run = Stage2(model, text, settings, workers, tmp_path)
    run.train_step()
    run.save(tmp_path / "checkpoint.pt")
    expected = run.train_step()
    resumed = Stage2(model, text, settings, workers, tmp_path)
    resumed.load(tmp_path / "checkpoint.pt")
    assert str(resumed.train_step()) == str(expected)  # as text: terms without examples are nan


def test_the_tokenizer_stays_frozen(tmp_path, model, text):
    before = {
        name: t.clone() for name, t in model.state_dict().items() if name.startswith(("vision", "setok", "detok"))
    }
    Stage2(model, text, Stage2Settings(stage=3, batch=4), Workers("cpu"), tmp_path).train_step()
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("stage", "settings", "learns"),
    [
        (Stage4, Stage4Settings(steps=4, batch=4, warmup_steps=1), "detok"),
        (
            Stage5,
            Stage5Settings(steps=4, batch=8, layer_images=2, scenes=8, scenes_at_once=4, warmup_steps=1),
            "detok.layers",
        ),
    ],
)
def test_stages_4_and_5_change_their_part_and_nothing_else(tmp_path, model, stage, settings, learns):
    model = copy.deepcopy(model)
    add_layers(model)
    before = {name: p.clone() for name, p in model.named_parameters()}
    run = stage(model, settings, Workers("cpu"), tmp_path)
    terms = run.train_step()
    assert all(math.isfinite(terms[name]) for name in stage.loss_weights)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed and all(name.startswith(f"{learns}.") for name in changed)
    run.save(tmp_path / "checkpoint.pt")
    again = load_setokim(tmp_path / "checkpoint.pt")
    assert again.config == model.config and again.tokenizer_config == model.tokenizer_config


def test_a_true_layer_put_in_its_box_is_the_object():
    scene = next(s for s in (sample_scene("val", i) for i in range(20)) if any(o.flipped for o in s.objects))
    true_layers = sprite_layers(40, CPU)[[o.sprite for o in scene.objects]]
    flipped = torch.tensor([o.flipped for o in scene.objects])[:, None, None, None]
    color, opacity = torch.where(flipped, true_layers.flip(-1), true_layers).split([3, 1], 1)
    images = torch.cat([color / opacity.clamp(min=1e-6), opacity], 1)  # the layer multiplies by its opacity
    boxes = torch.tensor([[v / IMAGE_SIZE for v in (*o.center, o.size)] for o in scene.objects])
    layouts, renderer = Layouts.of([scene]), Renderer.on(CPU)
    true, empty = renderer.render(layouts).normalized, renderer.render(layouts.empty).normalized
    composited = composite_layers(empty, images[None], boxes[None])
    before, after = ((x - true).square().mean() for x in (empty, composited))
    assert after < before / 20  # what is left: the sprite was made smaller and larger again


def test_layers_cost_nothing_where_they_are_right():
    scene = next(s for s in (sample_scene("val", i) for i in range(20)) if any(o.flipped for o in s.objects))
    objects = torch.from_numpy(Layouts.of([scene]).objects[0])
    objects = objects[: len(scene.objects) + 1]  # and one that is none
    true = sprite_layers(40, CPU)[objects[:, 0].clamp(min=0)] * (objects[:, 0] >= 0)[:, None, None, None]
    true = torch.where((objects[:, 4] == 1)[:, None, None, None], true.flip(-1), true)
    images = torch.cat([true[:, :3] / true[:, 3:].clamp(min=1e-6), true[:, 3:]], 1)
    boxes = torch.tensor([[v / IMAGE_SIZE for v in (*o.center, o.size)] for o in scene.objects] + [[9.0] * 3])
    right = lambda tokens: (images, boxes)  # noqa: E731
    right.size = 40
    losses = layer_losses(right, torch.zeros(len(objects), 64), objects)
    assert all(loss < 1e-6 for loss in losses.values())
    boxes += 0.1
    assert layer_losses(right, torch.zeros(len(objects), 64), objects)["boxes"] > 0.09


def test_heads_of_an_earlier_run_are_taken_over(tmp_path, model, text):
    settings = Stage2Settings(stage=3, batch=4, warmup_steps=1)
    earlier = Stage2(model, text, settings, Workers("cpu"), tmp_path)
    torch.nn.init.normal_(earlier.average["claim"].weight)
    earlier.save(tmp_path / "checkpoint.pt")
    run = Stage2(model, text, settings, Workers("cpu"), tmp_path)
    load_heads(run, tmp_path / "checkpoint.pt")
    for part in (run.model, run.average):
        assert torch.equal(part["claim"].weight, earlier.average["claim"].weight)


def test_what_was_said_of_two_things_has_a_sign():
    a, b = (SceneObject(0, 0, NATURAL, x, 40, size, False) for x, size in ((0, 40), (80, 30)))
    for words, positive in (("is it left of that?", True), ("is it right of that?", False), ("the bigger", True)):
        assert (relation_depth(words, a, b) > 0) == positive
        assert (relation_depth(words, b, a) > 0) != positive


def test_things_that_are_drawn_are_known_in_the_order_of_their_tokens(model, text):
    batch = TaskSampler(model, text, TASK_SHARES[3]).batch("val", 0, 12)
    generated = (batch.targets.labels == model.config.special_tokens.visual).nonzero().tolist()
    expected = []
    for b, at in generated:
        image, token = batch.sequences[b].visual[at]
        region = batch.contents.regions[image][token]
        expected.append(0 <= region < len(batch.contents.scenes[image].objects))
    assert batch.targets.generated_things.tolist() == expected and 0 < sum(expected) < len(expected)


def test_placing_costs_nothing_where_the_place_is_right(model):
    placed = copy.deepcopy(model)
    add_layers(placed)
    tokens, is_conditioned = torch.randn(6, 64), torch.ones(12, 1, dtype=torch.bool)
    is_thing = torch.tensor([True] * 4 + [False] * 2)
    guess = tokens.repeat(2, 1)
    guess[4:6] += 1  # backgrounds have no place
    assert placing_loss(placed, guess, tokens, is_conditioned, is_thing) < 1e-6
    guess[0] += 1
    assert placing_loss(placed, guess, tokens, is_conditioned, is_thing) > 1e-4


def test_an_instruction_means_the_thing_that_goes(model, text):
    sampler = TaskSampler(model, text, TASK_SHARES[3])
    meant = Counter()
    for sequence in sampler.batch("val", 0, 60, "edit").sequences:
        for at, image, region in sequence.meant:
            assert sequence.ids[at] == model.config.special_tokens.assistant
            assert region >= 0 and image == sequence.image
        meant[len(sequence.meant)] += 1
    assert set(meant) == {0, 1} and meant[1] > meant[0] / 2  # none when something is added, or is not there


def test_the_same_picture_costs_no_features(model):
    rendered = Renderer.on(CPU).render(Layouts.of([sample_scene("train", i) for i in range(2)]))
    images, region = encode_images(model, rendered), rendered.patch_regions
    assert feature_loss(images.features, images.features, region) == 0
    assert feature_loss(images.features.flip(0), images.features, region) > 0.1


def test_a_new_tokenizer_brings_its_own_unit(model, text):
    torch.manual_seed(1)
    other = copy.deepcopy(model)
    replace_tokenizer(other, SeTok(model.tokenizer_config), text)
    layouts = Layouts.of([sample_scene("train", i) for i in range(64)])
    real = encode_images(other, Renderer.on(CPU).render(layouts)).real_tokens
    # A margin for 64 scenes beside the 256 that were measured; untrained tokens hardly differ, so no lower bound.
    assert real.mean(0).abs().max() < 0.5 and real.std(0).max() < 1.5
    assert not torch.equal(other.projector.mean, model.projector.mean)
