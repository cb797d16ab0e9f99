"""Stage I's losses beside the captions. d is the clustering's own distance; of normalised features d^2 = 2 - 2 cos."""

import torch
import torch.nn.functional as F
from torch import Tensor

UNKNOWN = -1  # a cell of which nothing is known
BACKGROUND = 0  # known to be none of the labelled things, but not one thing
COVER = 0.4  # share of the second part of `phrase_place_loss`


def sampled_cosines(features: Tensor, cells: Tensor) -> Tensor:
    """features [B, N, W] normalised, cells [M] -> cosines [B, M, M]."""
    x = features[:, cells]
    return x @ x.transpose(1, 2) / features.shape[-1]


def grouping_loss(cosines: Tensor, segments: Tensor, pull_to: float = 0.8, push_to: float = 0.2) -> Tensor:
    """Pulls cells of one segment together and pushes cells of two segments apart.

    cosines [B, M, M]; segments [B, M] as UNKNOWN, BACKGROUND or the number of a segment. A photo's pairs to pull and
    its pairs to push weigh the same however many there are.
    """
    known = segments != UNKNOWN
    pairs = known[:, :, None] & known[:, None, :]
    same = segments[:, :, None] == segments[:, None, :]
    pull = pairs & same & (segments != BACKGROUND)[:, :, None]
    push = pairs & ~same
    near = F.relu(pull_to - cosines).square()
    far = F.relu(cosines - push_to).square()
    return per_photo(near, pull) + per_photo(far, push)


def per_photo(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen values of each photo, then mean over photos that have some."""
    count = chosen.sum((1, 2))
    mean = (values * chosen).sum((1, 2)) / count.clamp(min=1)
    return mean.sum() / (count > 0).sum().clamp(min=1)


def teacher_loss(cosines: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the student's and the teacher's cosines [B, M, M]."""
    return (cosines - teacher).square().mean()


def phrase_token_loss(phrases: Tensor, tokens: Tensor, inside: Tensor, scale: Tensor) -> Tensor:
    """Contrast of P phrases [P, E] with all T tokens of the batch [T, E], both of length 1.

    inside [P, T]: 1 for a token in the phrase's box, 0 for one that is something else, -1 for one that does not count.
    A phrase may have several tokens: their probability together is what grows.
    """
    logits = scale * phrases @ tokens.T
    counted = logits.masked_fill(inside < 0, -torch.inf)
    positive = logits.masked_fill(inside != 1, -torch.inf)
    return (counted.logsumexp(1) - positive.logsumexp(1)).mean()


def phrase_place_loss(phrases: Tensor, photo: Tensor, cells: Tensor, inside: Tensor, scale: Tensor) -> Tensor:
    """Where in its own photo a phrase is: the probability of the cells in its box together, and that of each of them.

    phrases [P, E] of the photos [P], photo by photo; cells [B, N, E]; inside [P, N] true in the box. The first part
    alone is content with one cell of the box; the second wants all of them alike, so that the whole box is covered.
    """
    similarity = torch.cat([phrases[photo == i] @ of_photo.T for i, of_photo in enumerate(cells)])
    logits = scale * similarity.float()
    together = logits.masked_fill(~inside, -torch.inf).logsumexp(1)
    each = (logits * inside).sum(1) / inside.sum(1)
    return (logits.logsumexp(1) - (1 - COVER) * together - COVER * each).mean()
