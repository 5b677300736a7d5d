"""Tokenizer training, and which words of a prompt a checkpoint has learnt."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, trainers

from lungsynth.errors import CheckpointError

VOCABULARY_NAME = "vocabulary.json"
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Letters of scripts without spaces: Han, Hiragana, Katakana."""

WORD = re.compile(rf"[{CJK}]+|[^\W_{CJK}]+(?:'[^\W\d_{CJK}]+)*")
"""A run of letters and digits of any script, apostrophes within; of folded text."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text, and where it stands there."""

    text: str  # NFKC, lower case
    start: int  # first character in the text as given
    end: int  # after its last character


def find_words(text: str) -> list[Word]:
    """Words and numbers of a text, in order: the unit that is known or not, and that has a map.

    Letters are those of Unicode: "Röntgen" is one word, however its ö is composed, a ligature is its
    letters (NFKC), "1girl" is one word, and a run of Chinese is one.
    """
    folded, places = _fold(text)
    # a mark that stayed apart from its letter is no letter to `re`, but belongs to the word
    plain = "".join("x" if unicodedata.category(c)[0] == "M" else c for c in folded)
    return [
        Word(folded[m.start() : m.end()], places[m.start()][0], places[m.end() - 1][1])
        for m in WORD.finditer(plain)
    ]


def split_words(text: str) -> list[str]:
    """The words of `find_words` without their places."""
    return [word.text for word in find_words(text)]


def _fold(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Text in NFKC and lower case; for each of its characters (start, end) of the origin in `text`."""
    if text.isascii():
        return text.lower(), [(k, k + 1) for k in range(len(text))]
    folded: list[str] = []
    places: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        end = start + 1
        while end < len(text) and unicodedata.category(text[end])[0] == "M":
            end += 1  # a letter and its marks are composed together
        cluster = unicodedata.normalize("NFKC", text[start:end]).lower().replace("\u2019", "'")
        folded += cluster
        places += [(start, end)] * len(cluster)
        start = end
    return "".join(folded), places


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
    from transformers import CLIPTokenizer  # deferred: slow, and only training needs it

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
