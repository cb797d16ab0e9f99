"""The control tokens of the vocabulary: they stand at its beginning and have no text of their own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens that are not text; <keep_i> is `keep_first` + i."""

    pad: int = 0
    begin: int = 1  # <bos>, first of every sequence
    end: int = 2  # <end>, after every turn
    user: int = 3
    assistant: int = 4
    image_start: int = 5  # [Img]
    image_end: int = 6  # [/Img]
    visual: int = 7  # <vis>: the next visual token is denoised by the diffusion head
    segment: int = 8  # [SEG]
    keep_first: int = 9
    keep_count: int = 16

    @property
    def names(self) -> list[str]:
        """All of them in order of id, as the text tokenizer knows them."""
        fixed = ["<pad>", "<bos>", "<end>", "<user>", "<assistant>", "[Img]", "[/Img]", "<vis>", "[SEG]"]
        return fixed + [f"<keep_{i}>" for i in range(self.keep_count)]
