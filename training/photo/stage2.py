"""Stage II: merger, projector and adapters learn to describe photos through the frozen language model."""

import json
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.projector import Projector
from .evaluate import in_batches
from .loop import Run, ranks, shuffled
from .name_head import Namer
from .packs import DESCRIBE, END, Pack, PackBatch, Prompts, natural, packed
from .score import score_captions
from .smollm2 import LanguageModel, reader
from .stage1 import Stage1, Stage1Data, open_stage1
from .summaries import SummaryCache
from .text import flipped
from .tokenizer import Merger, Summary, TokenizerConfig

RANK, SCALE = 16, 2.0
SILENT = 0.15  # share of photos without names, so that the model does not hang on them
OTHER_WORDS = 512  # rows of the vocabulary beside those that captions use, drawn anew each step


class PhotoLanguage(nn.Module):
    """Summaries of clusters -> tokens -> embeddings -> SmolLM2."""

    def __init__(self, config: TokenizerConfig, gguf, dtype: torch.dtype):
        super().__init__()
        self.merger = Merger(config)
        self.language = LanguageModel(gguf, RANK, SCALE, dtype)
        self.projector = Projector(config.token_width, self.language.config.hidden)
        with torch.no_grad():  # begin at the size of the language model's own embeddings
            self.projector.fc2.weight.mul_(float(self.language.embedding.float().std()) / 0.15)

    def embeddings(self, summary: Summary) -> Tensor:
        """[tokens of all photos, hidden], photo by photo."""
        tokens = self.merger(summary)[summary.valid]
        return self.projector(self.projector.normalize(tokens)).to(self.language.embedding.dtype)

    def hidden(self, summary: Summary, batch: PackBatch) -> Tensor:
        x = self.language.embed(batch.ids)
        x = x.index_put((batch.is_photo,), self.embeddings(summary))
        return self.language(x, batch.positions, batch.allowed)

    def loss(self, summary: Summary, batch: PackBatch, rows: Tensor) -> Tensor:
        """Mean cross-entropy of what is learned, over the vocabulary's `rows` (sorted, all targets among them)."""
        return self.text_loss(self.hidden(summary, batch), batch, rows)

    def text_loss(self, hidden: Tensor, batch: PackBatch, rows: Tensor) -> Tensor:
        hidden = hidden[batch.photo, batch.source]
        logits = (hidden @ self.language.embedding[rows].T).float()
        return F.cross_entropy(logits, torch.searchsorted(rows, batch.target))

    @torch.no_grad()
    def greedy(
        self, summary: Summary, prompts: Prompts, question: str, names: list[list[str]], length: int = 32
    ) -> list[list[int]]:
        """What the model answers to the question about each photo, without the end."""
        counts = summary.valid.sum(1)
        wanted = int(counts.max())
        before, after = torch.tensor(prompts.user), torch.tensor(prompts.question(question))
        size = len(counts)
        hints = [torch.tensor(prompts.hint(of_photo), dtype=torch.long) for of_photo in names]
        hinted = torch.tensor([len(hint) for hint in hints])
        hints = nn.utils.rnn.pad_sequence(hints, batch_first=True)
        photo = torch.zeros(size, wanted, dtype=torch.long)
        ids = torch.cat([before.repeat(size, 1), photo, hints, after.repeat(size, 1)], 1)
        known = torch.ones(ids.shape, dtype=torch.bool)
        start, end = len(before), len(before) + wanted
        known[:, start:end] = torch.arange(wanted) < counts[:, None]
        is_photo = known.clone()
        is_photo[:, :start] = is_photo[:, end:] = False
        known[:, end : end + hints.shape[1]] = torch.arange(hints.shape[1]) < hinted[:, None]
        x = self.language.embed(ids).index_put((is_photo,), self.embeddings(summary))
        positions = (known.cumsum(1) - 1).clamp(min=0)
        allowed = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril() & known[:, None, :]
        past: list[list] = [[] for _ in self.language.layers]
        end = prompts.end[0]
        said: list[list[int]] = [[] for _ in range(size)]
        open_ = torch.ones(size, dtype=torch.bool)
        at = positions[:, -1:]
        for _ in range(length):
            hidden = self.language(x, positions, allowed, past)[:, -1]
            best = (hidden @ self.language.embedding.T).argmax(-1)
            open_ &= best != end
            if not open_.any():
                break
            for i in open_.nonzero()[:, 0].tolist():
                said[i].append(int(best[i]))
            at = at + 1
            known = F.pad(known, (0, 1), value=True)
            x, positions, allowed = self.language.embed(best[:, None]), at, known[:, None, :]
        return said


class Stage2Data:
    """Summaries, captions as packs, and the words that answers use."""

    def __init__(self, first: Stage1Data, summaries: SummaryCache, namer: Namer):
        self.first, self.summaries = first, summaries
        self.prompts = Prompts(first.text)
        self.namer = namer
        self.captions = first.captions
        rows = first.cache.of_archives("flickr8k")
        self.rows = {name: row for name, row in rows.items() if summaries.count[row].all()}
        self.train = sorted(name for name in self.captions["train"] if name in self.rows)
        self.dev = [name for name in self.captions["dev"] if name in self.rows]
        texts = [natural(caption) + END for of in self.captions["train"].values() for caption in of]
        used = {piece for text in texts for piece in first.text.encode(text).ids}
        used |= {piece for text in texts for piece in first.text.encode(flipped(text)).ids}
        self.used = torch.tensor(sorted(used))

    def batch(self, names: list[str], rng: random.Random) -> tuple[Summary, PackBatch, int]:
        flips = [rng.randrange(2) for _ in names]
        summary = self.summaries.read([self.rows[name] for name in names], flips)
        hints = self.hints(summary, rng)
        packs = [self.pack(name, flip, hint, rng) for name, flip, hint in zip(names, flips, hints)]
        batch = packed(packs, summary.valid.sum(1).tolist())
        return summary, batch, sum(len(pack.branches) for pack in packs)

    def hints(self, summary: Summary, rng: random.Random) -> list[list[str]]:
        """Names of tokens as the model is told them, now and then none."""
        return [[] if rng.random() < SILENT else names for names in self.namer.of_photos(summary)]

    def pack(self, name: str, flip: int, hint: list[str], rng: random.Random) -> Pack:
        captions = self.captions["train"][name]
        question = DESCRIBE[0] if rng.random() < 0.5 else rng.choice(DESCRIBE)
        return self.prompts.captions([flipped(c) if flip else c for c in captions], question, hint)

    def vocabulary_rows(self, targets: Tensor, vocabulary: int) -> Tensor:
        others = torch.randint(0, vocabulary, (OTHER_WORDS,))
        return torch.cat([self.used, targets, others]).unique()


def open_stage2(args, device: torch.device, kind: type = PhotoLanguage) -> tuple[PhotoLanguage, Stage2Data, Stage1]:
    """The model as stage I left it, and its data; fills the cache of summaries."""
    model1, first = open_stage1(args, device)
    saved = torch.load(args.cache / "stage1.pt", map_location="cpu", weights_only=False)
    model1.load_state_dict(saved["average"])
    model1.eval()
    known = first.cache.of_archives("flickr8k")
    rows = [known[name] for name in [*first.train, *list(first.captions["dev"])[: args.limit]]]
    folder = args.cache / f"summaries-{saved['step']}"
    summaries = SummaryCache(folder, len(first.cache.rows), model1.tokenizer)
    summaries.fill(model1.tokenizer, first.reader, rows)
    model = kind(model1.tokenizer.config, reader(), torch.bfloat16 if args.bfloat16 else torch.float32)
    model.merger.load_state_dict(model1.tokenizer.merger.state_dict())
    data = Stage2Data(first, summaries, Namer(args.cache))
    measure_tokens(model, data)
    return model, data, model1


@torch.no_grad()
def measure_tokens(model: PhotoLanguage, data: Stage2Data) -> None:
    """The unit in which the projector reads tokens."""
    names = data.train[:500]
    summary = data.summaries.read([data.rows[name] for name in names], [0] * len(names))
    tokens = model.merger(summary)[summary.valid]
    model.projector.mean.copy_(tokens.mean(0))
    model.projector.std.copy_(tokens.std(0))


def dev_captions(model: PhotoLanguage, data: Stage2Data, limit: int) -> dict[str, str]:
    said = {}
    for group in in_batches(data.dev[:limit]):
        summary = data.summaries.read([data.rows[name] for name in group], [0] * len(group))
        for name, ids in zip(group, model.greedy(summary, data.prompts, DESCRIBE[0], data.namer.of_photos(summary))):
            said[name] = data.first.text.decode(ids)
    return said


def evaluate_stage2(model: PhotoLanguage, data: Stage2Data, limit: int, predictions: Path) -> dict:
    start = time.time()
    said = dev_captions(model, data, limit)
    lines = [json.dumps({"image": name, "caption": caption}) for name, caption in said.items()]
    predictions.write_text("\n".join(lines) + "\n")
    scores = score_captions(said, data.captions["dev"])
    return scores | {"captions": len(said), "seconds": round(time.time() - start)}


def train_stage2(args) -> None:
    device = torch.device("cpu")
    model, data, _ = open_stage2(args, device)
    run = Run("stage2", model, args, args.stage2_steps, args.language_rate, decay=0.01)
    if run.progress >= 1:
        return
    rng = random.Random(1000 * run.step + ranks()[0] + 7)
    torch.manual_seed(rng.getrandbits(32))
    names = shuffled(data.train, rng)

    def evaluate(limit: int) -> dict:
        return evaluate_stage2(model, data, limit, args.cache / "stage2-dev.jsonl")

    trained = sum(p.numel() for p in run.parameters) / 1e6
    print(f"stage II: {trained:.1f} M trained, {len(data.train)} photos, from step {run.step}", flush=True)
    model.train()
    while run.progress < 1:
        started = time.time()
        summary, batch, count = data.batch([next(names) for _ in range(args.language_batch)], rng)
        rows = data.vocabulary_rows(batch.target, len(model.language.embedding))
        loss = model.loss(summary, batch, rows)
        run.update(loss, count, started)
        run.note({"caption": float(loss.detach())})
        run.tend(evaluate)
    run.finish(evaluate)
