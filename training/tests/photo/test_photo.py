"""The photo model's parts: shapes, equalities and orders that the Rust side counts on."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training.photo.data import cells_of_mask
from training.photo.decoder import END, PAD, START, CaptionDecoder
from training.photo.encoder import Encoder, SameConv
from training.photo.evaluate import grid_labels, purity
from training.photo.fixtures import ENCODER, TOKENIZER, tiny_parts, tiny_tensors
from training.photo.losses import BACKGROUND, UNKNOWN, grouping_loss, phrase_place_loss, phrase_token_loss
from training.photo.packs import Pack, natural, packed
from training.photo.score import box_iou, score_phrases, union_of
from training.photo.stage1 import cells_in_boxes
from training.photo.text import flipped, normalized, padded
from training.photo.tokenizer import Maps, by_area


def test_same_padding_puts_the_odd_zero_after():
    conv = SameConv(1, 1, 3, 2, bias=False)
    conv.weight.data.fill_(1.0)
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert conv(x)[0, 0, 0, 0] == x[0, 0, :3, :3].sum()  # nothing above and to the left
    assert conv(x)[0, 0, 1, 1] == x[0, 0, 2:, 2:].sum()


def test_encoder_strides():
    levels = Encoder(ENCODER)(torch.zeros(1, 3, 64, 64))
    assert [tuple(level.shape[1:]) for level in levels] == [(16, 8, 8), (20, 4, 4), (28, 2, 2)]


def test_tokens_are_ordered_by_area_and_mirroring_keeps_their_number():
    encoder, tokenizer = tiny_parts()
    levels = encoder(torch.rand(2, 3, 64, 64) * 2 - 1)
    maps = Maps(*(level.permute(0, 2, 3, 1) for level in (*levels, encoder.head_map(levels[2]))))
    tokens = tokenizer(maps)
    areas = F.one_hot(tokens.labels, TOKENIZER.max_clusters).sum(1)
    assert (areas[:, :-1] >= areas[:, 1:]).all()
    assert ((areas > 0) == tokens.valid).all()
    assert maps.flipped().stride16.flip(2).equal(maps.stride16)


def test_pooled_head_is_the_mean_of_the_upsampled_map():
    _, tokenizer = tiny_parts()
    head, labels = torch.randn(1, 2, 2, 40), torch.randint(0, 3, (1, 16))
    valid = torch.ones(1, 3, dtype=torch.bool)
    summary = tokenizer.summarize(torch.randn(1, 16, 32), head, labels, valid)
    upsampled = head.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1, 2)[0]
    for token in range(3):
        chosen = upsampled[labels[0] == token]
        if len(chosen):
            torch.testing.assert_close(summary.head[0, token], chosen.mean(0))


def test_fixture_is_the_same_every_time_and_has_several_tokens():
    first, second = tiny_tensors(), tiny_tensors()
    assert all(first[name].equal(second[name]) for name in first)
    assert 2 <= len(first["tokens"]) <= TOKENIZER.max_clusters


def test_by_area_keeps_the_order_of_centres_in_ties():
    clusters = type(
        "C", (), {"labels": torch.tensor([[0, 1, 2, 2]]), "valid": torch.tensor([[True, True, True, False]])}
    )
    labels, valid = by_area(clusters)
    assert labels.tolist() == [[1, 2, 0, 0]]
    assert valid.tolist() == [[True, True, True, False]]


def test_decoder_sees_no_later_piece_and_no_other_photo():
    torch.manual_seed(0)
    decoder = CaptionDecoder(20, 8, width=40, layers=2).eval()
    tokens, valid = torch.randn(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)
    pieces = padded([[START, 5, 6, END], [START, 7, END], [START, 5, END], [START, 9, 10, END]])
    hidden = decoder.hidden(tokens, valid, pieces)
    changed = pieces.clone()
    changed[0, 2] = 11
    assert decoder.hidden(tokens, valid, changed)[0, :2].allclose(hidden[0, :2], atol=1e-5)
    other = tokens.clone()
    other[1] += 1
    again = decoder.hidden(other, valid, pieces)
    assert again[:2].allclose(hidden[:2], atol=1e-5)
    assert not again[2:].allclose(hidden[2:], atol=1e-3)
    assert (pieces[1] == PAD).sum() == 1


def test_grouping_loss_knows_what_it_knows():
    segments = torch.tensor([[1, 1, 2, BACKGROUND, BACKGROUND, UNKNOWN]])
    good = torch.full((1, 6, 6), 0.0)
    good[0, 0, 1] = good[0, 1, 0] = 1.0
    good[0, range(6), range(6)] = 1.0
    assert grouping_loss(good, segments) == 0
    bad = good.clone()
    bad[0, 3, 4] = bad[0, 4, 3] = -1.0  # two cells of background: not known to be one thing
    bad[0, 5] = 1.0  # unknown
    assert grouping_loss(bad, segments) == 0
    bad[0, 0, 2] = 1.0
    assert grouping_loss(bad, segments) > 0


def test_phrase_losses_prefer_what_is_inside():
    phrases = F.normalize(torch.eye(2, 4), dim=-1)
    tokens = F.normalize(torch.eye(3, 4), dim=-1)
    inside = torch.tensor([[1, 0, -1], [0, 1, 0]])
    right = phrase_token_loss(phrases, tokens, inside, torch.tensor(10.0))
    wrong = phrase_token_loss(phrases, tokens, inside.flip(0), torch.tensor(10.0))
    assert right < 0.01 < wrong
    cells = tokens[None].repeat(2, 1, 1)
    held = torch.tensor([[True, False, False], [False, True, False]])
    photo = torch.tensor([0, 1])
    assert phrase_place_loss(phrases, photo, cells, held, torch.tensor(10.0)) < 0.01
    assert phrase_place_loss(phrases, photo, cells, ~held, torch.tensor(10.0)) > 1


def test_branches_see_the_photo_and_themselves_only():
    pack = Pack([1, 2], [3], [([4, 5], 0), ([6, 7, 8], 1)])
    batch = packed([pack], [2])
    assert batch.ids[0].tolist() == [1, 2, 0, 0, 3, 4, 5, 6, 7, 8]
    assert batch.positions[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 5, 6, 7]
    assert batch.allowed[0, 8].tolist() == [True] * 5 + [False] * 2 + [True] * 2 + [False]
    assert batch.source.tolist() == [4, 5, 7, 8]
    assert batch.target.tolist() == [4, 5, 7, 8]


def test_texts():
    assert natural("A dog 's ball , red , on snow .") == "A dog's ball, red, on snow."
    assert normalized("A dog's ball.") == "a dog s ball"
    assert flipped("left of the right man") == "right of the left man"


def test_scores():
    boxes = np.array([[0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 1.0, 0.5]])
    assert union_of(boxes).tolist() == [0, 0, 1, 0.5]
    assert box_iou(np.array([0, 0, 1, 1.0]), np.array([0, 0, 1, 0.5])) == pytest.approx(0.5, abs=1e-6)
    line = {"image": "a", "phrase": "x", "found": True, "score": 1.0, "box": [0, 0, 1, 0.5], "point": [0.2, 0.9]}
    scores = score_phrases([line, line | {"found": False}], {("a", "x"): boxes})
    assert scores == {"phrase_recall50": 0.5, "phrase_iou": 0.5, "phrase_point": 0.0, "phrases": 2}


def test_cells():
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 1
    assert cells_of_mask(mask, 2).tolist() == [[0, 1], [0, 1]]
    box = np.array([[0.0, 0.0, 0.5, 1.0]])
    assert cells_in_boxes(box, 2, flip=False).tolist() == [1, 0, 1, 0]
    assert cells_in_boxes(box, 2, flip=True).tolist() == [0, 1, 0, 1]
    ids = np.kron(np.array([[1, 2], [1, 2]]), np.ones((8, 8), int))
    assert purity(np.array([[0, 1], [0, 1]]), ids) == 1
    assert purity(np.array([[0, 0], [1, 1]]), ids) == 0.5
    assert len(np.unique(grid_labels(24, 8))) >= 8


def test_batches_are_the_same_for_the_same_seed():
    from training.photo.loop import rate_at, shuffled

    names = [str(i) for i in range(9)]
    one, two = shuffled(names, random.Random(3)), shuffled(names, random.Random(3))
    assert [next(one) for _ in range(20)] == [next(two) for _ in range(20)]
    assert rate_at(0.5, 1000) == 1 and rate_at(1.0, 1000) == 0.02 and rate_at(0.0, 0) < 0.01


def test_q8_blocks_give_the_matrix_back():
    from training.photo.export import q8_0

    matrix = torch.randn(3, 64)
    blocks = q8_0(matrix).unflatten(1, (2, 34))
    scale = blocks[..., :2].contiguous().view(torch.float16).float()
    back = (blocks[..., 2:].contiguous().view(torch.int8).float() * scale).flatten(1)
    assert (back - matrix).abs().max() < matrix.abs().max() / 200


def test_exported_weights_come_back_under_the_names_of_the_stages(tmp_path):
    from safetensors.torch import save_file

    from training.photo.export import stored, trained_tensors
    from training.photo.restore import language_names, read_exported, stage1_names

    torch.manual_seed(0)
    first = {
        "tokenizer.neck.stride16.proj.weight": torch.randn(8, 64),
        "tokenizer.merger.out.bias": torch.randn(8),
        "phrase.fc1.weight": torch.randn(4, 32),
        "of_token.weight": torch.randn(4, 32),
        "scale": torch.tensor([2.0, 3.0]),
    }
    second = {
        "merger.out.bias": torch.randn(8),
        "projector.fc1.weight": torch.randn(8, 32),
        "language.layers.3.down.a": torch.randn(16, 64),
        "mask_head.mix.weight": torch.randn(4, 4, 3, 3),
    }
    names = {"linear": {"weight": torch.randn(3, 32), "bias": torch.randn(3)}}
    files, kinds = stored(trained_tensors(first, second, names))
    save_file(files, tmp_path / "m.safetensors", kinds)
    back = read_exported(tmp_path / "m.safetensors")
    merger = {"tokenizer.merger.out.bias": second["merger.out.bias"]}  # the later stage's is what is exported
    for names, wanted in ((stage1_names, first | merger), (language_names, second)):
        found = names(back)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            # Half a step of a 127th of the largest value of a block, or eleven bits.
            assert torch.allclose(found[name], value, atol=float(value.abs().max()) / 250), name


def test_every_class_of_the_encoder_has_one_noun_or_none():
    from training.photo.names import CLASS_NOUNS, class_nouns

    nouns = class_nouns()
    assert (nouns[0], nouns[207], nouns[281], nouns[963]) == ("fish", "dog", "cat", "pizza")
    places = []
    for line in CLASS_NOUNS.read_text().splitlines():
        for part in line.split(": ")[1].split():
            first, last = (int(number) for number in (part.split("-") * 2)[:2])
            places += range(first, last + 1)
    assert len(places) == len(set(places))
    assert sum(noun == "" for noun in nouns) == 1000 - len(places)


def test_a_said_noun_is_wanted_of_some_token_and_an_unsaid_one_of_none():
    from training.photo.name_head import photo_loss

    valid, said, unsaid = torch.ones(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    right = torch.tensor([[[9.0, 0, 0], [0, 0, 9.0]]])  # one token is the first noun, the other none of both
    wrong = torch.tensor([[[0, 9.0, 0], [0, 0, 9.0]]])
    assert photo_loss(right, valid, said, unsaid) < 0.01 < photo_loss(wrong, valid, said, unsaid)
    beyond = torch.tensor([[1.0, 0.0]])  # the second token is not there: what it says does not count
    first = photo_loss(right, beyond, said, unsaid)
    assert torch.allclose(first, photo_loss(right[:, [0, 0]] * 1.0, beyond, said, unsaid))


def test_masks_tell_which_names_a_token_may_have():
    from training.photo.name_head import targets

    nouns = ["person", "man", "dog", "grass"]
    shares = torch.zeros(3, 21)
    shares[0, 15], shares[1, 0], shares[2, 12] = 0.9, 0.99, 0.4
    allowed, known = targets(shares, nouns)
    assert allowed[0].tolist() == [1, 1, 0, 0, 0]
    assert allowed[1].tolist() == [0, 0, 0, 1, 1]
    assert known.tolist() == [True, True, False]
