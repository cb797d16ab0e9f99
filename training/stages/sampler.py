"""Batches for stages 2 and 3: images rendered and encoded, and sequences with their tokens in place."""

from concurrent.futures import Future
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ..data.renderer import Layouts, RenderedImages, Renderer
from ..data.special_tokens import SpecialTokens
from ..data.targets import Targets, targets_of
from ..data.tasks import Contents, Planned, Sequence, TaskWriter
from ..model.cluster import cluster_features
from ..model.setokim import Setokim, order_by_area
from .losses import token_regions
from .precision import mixed_precision
from .prefetch import Prefetcher


@dataclass
class EncodedImages:
    """M tokenised pictures; tokens in the order of the language model, largest first. K tokens at most."""

    images: Tensor  # [M, 3, S, S]
    regions: Tensor  # [M, S, S] region of each pixel
    features: Tensor  # [M, N, C] normalised
    labels: Tensor  # [M, N] index of the token of each patch
    valid: Tensor  # [M, K]
    tokens: Tensor  # [M, K, D] normalised for the projector
    token_regions: Tensor  # [M, K] region that each token shows, -1 for none

    @property
    def real_tokens(self) -> Tensor:
        """[n, D], picture by picture."""
        return self.tokens[self.valid]


@torch.no_grad()
def encode_images(model: Setokim, rendered: RenderedImages) -> EncodedImages:
    image, config = rendered.normalized, model.tokenizer_config
    with mixed_precision(image.device):
        features = torch.nn.functional.layer_norm(model.vision(image), (config.vision.width,)).float()
    clusters = cluster_features(features, config.vision.grid, config.cluster, exact=False)
    order = order_by_area(clusters.labels, clusters.valid)  # [M, K]
    labels = order.argsort(1).gather(1, clusters.labels)
    valid = clusters.valid.gather(1, order)
    with mixed_precision(image.device):
        tokens = model.setok["merger"](features, labels, valid)
    return EncodedImages(
        image,
        rendered.regions,
        features,
        labels,
        valid,
        model.projector.normalize(tokens.float()),
        token_regions(labels, valid, rendered.patch_regions),
    )


@dataclass
class TaskBatch:
    """`targets` and `visual` lie where the pictures do."""

    targets: Targets
    visual: Tensor  # [B, T, D]
    encoded: EncodedImages

    @classmethod
    def of(cls, targets: Targets, encoded: EncodedImages) -> "TaskBatch":
        targets = targets.to(encoded.tokens.device)
        row, position, image, token = targets.visual.unbind(1)
        visual = encoded.tokens.new_zeros(*targets.ids.shape, encoded.tokens.shape[-1])
        visual[row, position] = encoded.tokens[image, token]
        return cls(targets, visual, encoded)


@dataclass
class WrittenBatch(TaskBatch):
    """With the sequences themselves and what they are about, for evaluation."""

    sequences: list[Sequence]
    contents: Contents


class TaskSampler:
    """Writes about pictures that the model tokenises, batch by batch, all in this process."""

    def __init__(self, model: Setokim, text: Tokenizer, shares: dict[str, float]):
        self.model = model
        self.writer = TaskWriter(text, model.config.special_tokens, shares)
        self.renderer = Renderer.on(model.projector.mean.device)

    def batch(self, split: str, first: int, count: int, kind: str | None = None, held_out_words=False) -> WrittenBatch:
        """See `TaskWriter.plan`."""
        planned = self.writer.plan(split, first, count, kind, held_out_words)
        encoded = encode_images(self.model, self.renderer.render(Layouts.of(planned.scenes, planned.easy)))
        contents = planned.contents(encoded.valid.sum(1).tolist(), encoded.token_regions.tolist())
        sequences = self.writer.write(planned, contents)
        batch = TaskBatch.of(targets_of(sequences, contents), encoded)
        return WrittenBatch(batch.targets, batch.visual, encoded, sequences, contents)


class TaskLoader:
    """The training batches `first`, `first + stride`, ..., with all that needs no tokenizer done ahead."""

    def __init__(self, model: Setokim, text: Tokenizer, shares: dict[str, float], stride: int, processes: int):
        self.model, self.stride = model, stride
        self.renderer = Renderer.on(model.projector.mean.device)
        self.prefetcher = Prefetcher(processes, _start, text.to_str(), model.config.special_tokens, shares)
        self.planned: dict[int, Future] = {}  # layouts, by the first sequence of the batch
        self.encoded: dict[int, EncodedImages] = {}
        self.known: dict[int, tuple[Tensor, torch.cuda.Event | None]] = {}  # on the CPU once the event has come
        self.written: dict[int, Future] = {}  # targets

    def batch(self, first: int, count: int) -> TaskBatch:
        for begin in range(first, first + self.prefetcher.depth * self.stride, self.stride):
            if begin not in self.planned and begin not in self.encoded:
                self.planned[begin] = self.prefetcher.submit(begin // self.stride, _plan, begin, count)
        self._write()
        self._tokenize()
        if first in self.planned:
            self.planned[first].result()
            self._tokenize()
        if first in self.known:
            self._write()
        return TaskBatch.of(self.written.pop(first).result(), self.encoded.pop(first))

    def _tokenize(self) -> None:
        for begin, layouts in list(self.planned.items()):
            if layouts.done():
                encoded = encode_images(self.model, self.renderer.render(self.planned.pop(begin).result()))
                known = torch.cat([encoded.valid.sum(1, keepdim=True), encoded.token_regions], 1)
                known = known.to("cpu", non_blocking=True)
                arrived = torch.cuda.current_stream().record_event() if encoded.tokens.is_cuda else None
                self.encoded[begin], self.known[begin] = encoded, (known, arrived)

    def _write(self) -> None:
        """Have written about what was tokenised; what was in an earlier call has arrived without waiting."""
        for begin, (known, arrived) in list(self.known.items()):
            if arrived:
                arrived.synchronize()
            counts, regions = known[:, 0].tolist(), known[:, 1:].tolist()
            self.written[begin] = self.prefetcher.submit(begin // self.stride, _write, begin, counts, regions)
        self.known.clear()


# In the process that writes: who writes, and what was planned and is not yet written.
_writer: TaskWriter
_plans: dict[int, Planned]


def _start(text: str, special: SpecialTokens, shares: dict[str, float]) -> None:
    global _writer, _plans
    _writer, _plans = TaskWriter(Tokenizer.from_str(text), special, shares), {}


def _plan(first: int, count: int) -> Layouts:
    _plans[first] = planned = _writer.plan("train", first, count)
    return Layouts.of(planned.scenes, planned.easy)


def _write(first: int, counts: list[int], regions: list[list[int]]) -> Targets:
    planned = _plans.pop(first)
    contents = planned.contents(counts, regions)
    return targets_of(_writer.write(planned, contents), contents)
