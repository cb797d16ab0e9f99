"""The text tokenizer: byte-level BPE trained on what the scenes give rise to, in Hugging Face's tokenizer.json.

python -m training.data.vocabulary --out models/setokim-tiny/tokenizer.json
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from .edits import edit_any
from .questions import ask_any
from .scenes import sample_scene
from .speaker import Speaker
from .special_tokens import SpecialTokens
from .sprites import SPRITES
from .templates import HELD_OUT, PICTURE_WORDS, SMALL_TALK, TEMPLATES
from .text import CELLS, caption, dense_caption, plural, refer, refusal

SIZE = 2048
SCENES = 4000


def corpus(scenes: int = SCENES) -> Iterator[str]:
    """Sentences of every kind. Held-out templates are among them: their words must be known, their use is not."""
    for index in range(scenes):
        rng = np.random.default_rng([99, index])
        scene = sample_scene("train", index)
        for speaker in (Speaker(rng), Speaker(rng, held_out_words=True)):
            question = ask_any(speaker, scene)
            yield from (question.question, question.answer, edit_any(speaker, scene).instruction)
            yield refer(speaker, scene, scene.objects[0]) or ""
        yield from (caption(scene), dense_caption(scene))
    yield from (sentence for turn in SMALL_TALK for sentence in turn)
    yield from (template for kinds in (TEMPLATES, HELD_OUT) for templates in kinds.values() for template in templates)
    for name in SPRITES.names:
        yield from (refusal(name), f"how many {plural(name)} are there?")
    yield from CELLS
    yield from (f"please describe the {word}" for word in PICTURE_WORDS)


def train_vocabulary(size: int = SIZE, scenes: int = SCENES) -> Tokenizer:
    special = SpecialTokens().names
    tokenizer = Tokenizer(models.BPE())
    # What people type becomes what the scenes say: lower case, single spaces, none before punctuation.
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Lowercase(),
            normalizers.Replace("’", "'"),
            normalizers.Replace("what's", "what is"),
            normalizers.Replace("where's", "where is"),
            normalizers.Replace("colour", "color"),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Replace(Regex(r" (?=[.,!?])"), ""),
            normalizers.Replace(Regex(r"(?<=\w)\.$"), ""),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[AddedToken(name, special=True, normalized=False) for name in special],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(scenes), trainer)
    if [tokenizer.token_to_id(name) for name in special] != list(range(len(special))):
        raise AssertionError("special tokens must have the first ids, in order")
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    tokenizer = train_vocabulary()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(arguments.out))
    print(tokenizer.get_vocab_size(), "entries")


if __name__ == "__main__":
    main()
