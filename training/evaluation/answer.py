"""The decoding loop in PyTorch, one sequence at a time and without a cache: what the Rust library must agree with."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, pad

from ..model.cluster import cluster_features
from ..model.setokim import CompositeConfig, Setokim, order_by_area


@dataclass
class EncodedImage:
    """A picture as the language model reads it."""

    image: Tensor  # [1, 3, S, S]
    features: Tensor  # [1, N, C]
    labels: Tensor  # [N] token of each patch, largest first
    ids: Tensor  # [L] cluster of each token
    tokens: Tensor  # [L, D] normalised


def encode_image(model: Setokim, pixels: Tensor) -> EncodedImage:
    """`pixels` [S, S, 3] in 0..255, in the float type of the model."""
    image = (pixels / 127.5 - 1).permute(2, 0, 1)[None]
    config = model.tokenizer_config
    features = torch.nn.functional.layer_norm(model.vision(image), (config.vision.width,), eps=config.cluster.norm_eps)
    clusters = cluster_features(features, config.vision.grid, config.cluster)
    order = order_by_area(clusters.labels, clusters.valid)[0, : int(clusters.valid.sum())]
    tokens = model.setok["merger"](features, clusters.labels, clusters.valid)[0, order]
    labels = order.argsort()[clusters.labels[0]]
    return EncodedImage(image, features, labels, order, model.projector.normalize(tokens))


@dataclass
class Sequence:
    """What has been read so far."""

    empty: Tensor  # [D], stands where there is no visual token
    ids: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    visual: list[Tensor] = field(default_factory=list)

    def add_text(self, *ids: int) -> None:
        for token in ids:
            self.ids.append(token)
            self.slots.append(-1)
            self.visual.append(self.empty)

    def token(self, slot: int, value: Tensor) -> None:
        self.ids.append(0)  # a visual token has no word
        self.slots.append(slot)
        self.visual.append(value)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """A batch of one."""
        return torch.tensor(self.ids)[None], torch.tensor(self.slots)[None], torch.stack(self.visual)[None]


def prompt(model: Setokim, text: Tokenizer, words: str, encoded_images: list[EncodedImage]) -> Sequence:
    special = model.config.special_tokens
    sequence = Sequence(torch.zeros_like(model.projector.mean))
    sequence.add_text(special.begin, special.user)
    for encoded in encoded_images:
        sequence.add_text(special.image_start)
        for slot, value in enumerate(encoded.tokens):
            sequence.token(slot, value)
        sequence.add_text(special.image_end)
    sequence.add_text(*text.encode(words).ids, special.end, special.assistant)
    return sequence


@dataclass
class Answer:
    ids: list[int] = field(default_factory=list)  # as chosen, the last one included
    tokens: list[Tensor] = field(default_factory=list)
    copied: list[int] = field(default_factory=list)  # source token of each, or -1
    hidden: Tensor | None = None  # at [SEG]


@dataclass(frozen=True)
class DenoiseOptions:
    """How visual tokens are denoised."""

    noise: Callable[[Tensor], Tensor]  # of the shape of its argument
    steps: int = 25
    guidance: float = 1.0


def best(logits: Tensor, allowed: set[int]) -> int:
    """The best of the allowed tokens."""
    index = sorted(allowed)
    return index[int(logits[index].argmax())]


def refuses(refusals: list[list[int]], said: list[int]) -> bool:
    """Whether an answer is a refusal as far as it goes."""
    return any(ours[: len(said)] == said[: len(ours)] for ours in refusals)


@torch.no_grad()
def respond(
    model: Setokim,
    text: Tokenizer,
    sequence: Sequence,
    source: EncodedImage | None,
    outputs: set[str],
    denoise: DenoiseOptions,
    limit: int = 64,
    choose: Callable[[Tensor, set[int]], int] = best,
) -> Answer:
    """One greedy answer of at most `limit` tokens. `outputs` names what it may hold: text, mask, image."""
    special, answer, in_image = model.config.special_tokens, Answer(), False
    words = set(range(special.keep_first + special.keep_count, text.get_vocab_size()))
    refusals = [text.encode(refusal).ids for refusal in model.config.refusals]
    while len(answer.ids) < limit:
        hidden = model(*sequence.tensors())[0]
        if in_image:
            allowed = {special.image_end} if answer.tokens else set()
            if len(answer.tokens) < model.tokenizer_config.cluster.max_clusters:
                fresh = range(len(source.tokens)) if source else []
                allowed |= {special.visual} | {special.keep_first + i for i in fresh if i not in answer.copied}
        else:
            allowed = words | {special.end} if "text" in outputs else set()
            allowed |= {special.segment} if "mask" in outputs else set()
            allowed |= {special.image_start} if "image" in outputs else set()
            if refusals and len(outputs) == 2:  # a mask or an image is asked for, or else refused
                makes = set() if answer.ids else allowed & {special.segment, special.image_start}
                allowed = makes | {token for token in allowed if refuses(refusals, [*answer.ids, token])}
        logits = model.llm.logits(hidden[-1])
        if source and not answer.ids and {"text", "image"} <= outputs:
            logits[special.image_start] -= model.config.picture_margin
        chosen = choose(logits, allowed)
        answer.ids.append(chosen)
        if chosen == special.end:
            break
        if chosen == special.visual:
            noise = denoise.noise(sequence.empty[None])
            value = model.diffusion.sample(noise, hidden[-1:], denoise.steps, denoise.guidance)[0]
            answer.copied.append(-1)
        elif special.keep_first <= chosen < special.keep_first + special.keep_count:
            value = source.tokens[chosen - special.keep_first]
            answer.copied.append(chosen - special.keep_first)
        else:
            sequence.add_text(chosen)
            if chosen == special.segment:
                answer.hidden = model(*sequence.tensors())[0, -1:]
                break
            if chosen == special.image_end:
                break
            in_image = in_image or chosen == special.image_start
            continue
        sequence.token(len(answer.tokens), value)
        answer.tokens.append(value)
    return answer


def composite(
    config: CompositeConfig,
    pixels: Tensor,
    labels: Tensor,
    copied: list[int],
    encoded: EncodedImage,
    original: Tensor,
    before: Tensor,
) -> Tensor:
    """The source's own pixels where nothing changed; the Rust library's compositing explains how.

    `pixels`, `original`, `before` (the source's own tokens rendered) [S, S, 3] in bytes.
    """
    patches = changes(labels.tolist(), copied, encoded.labels.tolist())
    side = int(len(labels) ** 0.5)
    changed, closer = (torch.tensor(m).view(1, side, side).float() for m in patches)
    near, far = max_pool2d(changed, 3, 1, 1), max_pool2d(changed, 5, 1, 2)
    patch = original.shape[0] // side
    changed, closer, near, far = (
        m[0].repeat_interleave(patch, 0).repeat_interleave(patch, 1) for m in (changed, closer, near, far)
    )
    pixels, original, before = (image.float() for image in (pixels, original, before))
    rim = avg_pool2d((pixels - before).abs().mean(-1)[None] / 255, 3, 1, 1)[0]
    low, high = config.rim
    level = near * ((rim - low) / (high - low)).clamp(0, 1)
    found = remnants(config, pixels, before, original) & (far > 0) & (closer >= 0)
    next_to_one = max_pool2d(found.float()[None], 3, 1, 1)[0] * (closer >= 0)
    level = torch.where((changed > 0) | (next_to_one > 0), 1.0, level).mul(255).round()
    relit = seamless(pixels, original, level, closer)
    return ((original * (255 - level[..., None]) + relit * level[..., None] + 127) / 255).floor().byte()


def changes(now: list[int], copied: list[int], before: list[int]) -> tuple[list[bool], list[int]]:
    """For each patch whether it changed, and the kept token that owns it now and closes a gap which a smaller one left,
    or -1."""
    owners = [(old, copied[new]) for old, new in zip(before, now)]
    closers = {new for old, new in owners if new >= 0 and old not in copied and before.count(old) < before.count(new)}
    changed = [old not in copied or new < 0 for old, new in owners]
    return changed, [new if new in closers else -1 for _, new in owners]


def remnants(config: CompositeConfig, now: Tensor, before: Tensor, original: Tensor) -> Tensor:
    """[S, S]: pixels of the original which the image has not, and which look like what went a few pixels away."""
    reach, size = config.remnant_reach, len(now)
    difference = lambda a, b: (a - b).abs().amax(-1)  # noqa: E731
    went = pad(difference(now, before) > config.went, (reach,) * 4)
    beyond = pad(before, (0, 0) + (reach,) * 4)
    looks_like = torch.zeros(size, size, dtype=torch.bool)
    for y, x in itertools.product(range(2 * reach + 1), repeat=2):
        there = slice(y, y + size), slice(x, x + size)
        looks_like |= went[there] & (difference(original, beyond[there]) <= config.alike)
    return looks_like & (difference(original, now) > config.strange)


def seamless(rendered: Tensor, original: Tensor, level: Tensor, closer: Tensor) -> Tensor:
    """The rendered image with the original's light where the tokens `closer` [S, S] closed a gap."""
    relit = rendered.clone()
    for token in set(closer[closer >= 0].tolist()):
        known = ((level == 0) & (closer == token)).float()[None, None]
        offset = (original - rendered).permute(2, 0, 1)[None]
        carried = carried_on(offset * known, known)[0].permute(1, 2, 0)
        again = ((level > 0) & (closer == token))[..., None]
        relit = torch.where(again, (rendered + carried).round().clamp(0, 255), relit)
    return relit


def carried_on(values: Tensor, known: Tensor) -> Tensor:
    """What is missing of [1, C, s, s], where `known` [1, 1, s, s] is 0, from the square of half the size; s = 2^n."""
    if values.shape[-1] == 1:
        return values
    count = avg_pool2d(known, 2)
    mean = avg_pool2d(values, 2) / count.clamp(min=1e-6)
    coarse = carried_on(mean, (count > 0).float())
    between = interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
    return torch.where(known > 0, values, between)
