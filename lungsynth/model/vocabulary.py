"""Tokenizer training, and which words of a prompt a checkpoint has learnt."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungsynth.errors import CheckpointError

VOCABULARY_NAME = "vocabulary.json"
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+")


def split_words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, in order: the unit the vocabulary counts."""
    return WORD.findall(text.lower())


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words seen in training, with how often."""

    counts: dict[str, int]

    def known(self, text: str) -> list[str]:
        """Words of `text` seen in training, in order, each once."""
        return [w for w in dict.fromkeys(split_words(text)) if w in self.counts]

    def unknown(self, text: str) -> list[str]:
        """Words of `text` never seen in training, in order, each once."""
        return [w for w in dict.fromkeys(split_words(text)) if w not in self.counts]

    def save(self, folder: Path) -> None:
        ordered = dict(sorted(self.counts.items(), key=lambda item: (-item[1], item[0])))
        (folder / VOCABULARY_NAME).write_text(json.dumps({"words": ordered}, indent=0) + "\n")

    @staticmethod
    def load(folder: Path) -> Vocabulary | None:
        """The vocabulary of a checkpoint folder; None when it has none (a foreign checkpoint)."""
        path = folder / VOCABULARY_NAME
        if not path.is_file():
            return None
        try:
            words = json.loads(path.read_text())["words"]
            return Vocabulary({str(k): int(v) for k, v in words.items()})
        except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path}: not a vocabulary file ({error}).") from error


def count_words(captions: Iterable[str]) -> Vocabulary:
    """Count the words of training captions."""
    counts: Counter[str] = Counter()
    for text in captions:
        counts.update(split_words(text))
    return Vocabulary(dict(counts))


def train_tokenizer(captions: Sequence[str], *, max_length: int, vocab_size: int = 2048) -> Any:
    """Train a CLIP byte-pair tokenizer on captions.

    Letters and digits are all in the alphabet, so any Latin prompt tokenizes; words never seen
    become pieces, which `Vocabulary.unknown` reports.

    Returns:
        A `transformers.CLIPTokenizer` whose padding is its end-of-text token.
    """
    from tokenizers import Tokenizer, models, trainers
    from transformers import CLIPTokenizer

    reference = CLIPTokenizer()._tokenizer
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = reference.normalizer
    tokenizer.pre_tokenizer = reference.pre_tokenizer
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,:;-'\"()/%&+!?"
    # every letter, within and at the end of a word, is given its id here: the trainer would number
    # them as its hash map falls, and a resumed run would then read other ids than it has learnt
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[
            "<|startoftext|>",
            "<|endoftext|>",
            *letters,
            *(f"{c}</w>" for c in letters),
        ],
        initial_alphabet=list(letters),
        end_of_word_suffix="</w>",
    )
    alphabet_line = " ".join(letters)  # so that every letter also exists as the end of a word
    tokenizer.train_from_iterator([*captions, alphabet_line, alphabet_line], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(m) if not isinstance(m, str) else tuple(m.split(" ")) for m in model["merges"]]
    return CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=max_length)
