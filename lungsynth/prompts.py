"""Prompts: their words, which of them a checkpoint has learnt, and the tokens of a word."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from lungsynth.errors import CheckpointError, PromptError, WordError

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
        # marks belong to the last of the letters that one sign may be: of "¼" with a mark, to the 4
        alone = unicodedata.normalize("NFKC", text[start]).lower()
        n_before = len(alone) - 1 if cluster.startswith(alone[:-1]) else 0
        places += [(start, start + 1)] * n_before + [(start, end)] * (len(cluster) - n_before)
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


MAX_CHARACTERS = 2000

START, END, PADDING = "<start>", "<end>", "<padding>"
"""Names of tokens that are no words; they have maps as words have (`word_tokens`)."""


@dataclass(frozen=True, slots=True)
class PromptReport:
    """What the model makes of a prompt."""

    text: str  # the prompt as used: Unicode NFKC, white space collapsed
    known: tuple[str, ...]  # words seen in training; every word when the checkpoint does not say
    unknown: tuple[str, ...]  # words never seen in training
    n_tokens: int  # tokens with start and end
    dropped: str  # the part beyond the model's token limit, "" when all of it is read


def read_prompt(text: str, tokenizer: Any, vocabulary: Vocabulary | None) -> PromptReport:
    """Check a prompt and say which of its words the model knows.

    Raises:
        PromptError: it is empty, over `MAX_CHARACTERS` long, or has no word the model has learnt.
    """
    if not isinstance(text, str) or not text.strip():
        raise PromptError(
            "The prompt is empty. Describe the film, such as 'Frontal chest X-ray of a "
            "60-year-old man with pneumonia'."
        )
    if len(text) > MAX_CHARACTERS:
        raise PromptError(
            f"The prompt has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read. "
            "Keep to one or two sentences."
        )
    clean = " ".join(unicodedata.normalize("NFKC", text).split())
    words = tuple(dict.fromkeys(split_words(clean)))
    known, unknown = words, tuple[str, ...]()
    if vocabulary is not None:
        known, unknown = tuple(vocabulary.known(clean)), tuple(vocabulary.unknown(clean))
        if not known:
            raise PromptError(
                f"No word of {clean[:80]!r} was seen in training. Words it knows include: "
                f"{', '.join(list(vocabulary.counts)[:12])}."
            )
    encoded = tokenizer(clean, return_offsets_mapping=True)
    limit = tokenizer.model_max_length
    n_tokens = len(encoded["input_ids"])
    dropped = ""
    if n_tokens > limit:
        dropped = clean[encoded["offset_mapping"][limit - 2][1] :].strip()
    return PromptReport(clean, known, unknown, n_tokens, dropped)


def word_tokens(prompt: str, word: str, tokenizer: Any) -> tuple[int, ...]:
    """Indices of the tokens of a word or phrase in a prompt, all its occurrences.

    Args:
        prompt: The prompt as it is given to the model.
        word: A word or phrase, any case; must occur in the prompt as whole words. Or one of START,
            END (the first end token) and PADDING (those after it).
        tokenizer: A fast tokenizer (with offsets).

    Returns:
        Positions in the padded token sequence (0 is the start token), ascending.

    Raises:
        WordError: the word does not occur, or lies beyond the token limit.
    """
    if word in (START, END, PADDING):
        return _special_tokens(prompt, word, tokenizer)
    spans = _spans(prompt, word)
    if not spans:
        present = ", ".join(dict.fromkeys(split_words(prompt)))
        raise WordError(
            f"The word {word!r} does not occur in the prompt. Its words are: {present}."
        )
    encoded = tokenizer(prompt, return_offsets_mapping=True)
    indices = tuple(
        index
        for index, (left, right) in enumerate(encoded["offset_mapping"])
        if right > left
        and index < tokenizer.model_max_length - 1
        and any(left < b and right > a for a, b in spans)
    )
    if not indices:
        raise WordError(
            f"The word {word!r} lies beyond the {tokenizer.model_max_length} tokens the model reads. "
            "Shorten the prompt or move the word forward."
        )
    return indices


def _special_tokens(prompt: str, name: str, tokenizer: Any) -> tuple[int, ...]:
    limit = int(tokenizer.model_max_length)
    end = min(len(tokenizer(prompt)["input_ids"]), limit) - 1
    padding = tuple(range(end + 1, limit))
    if name == PADDING and not padding:
        raise WordError(f"The prompt fills all {limit} tokens, so there is no {PADDING}.")
    return {START: (0,), END: (end,), PADDING: padding}[name]


def _spans(prompt: str, phrase: str) -> list[tuple[int, int]]:
    """(start, end) of every occurrence of a phrase in a prompt, as whole words.

    Between two words of the phrase may stand what stands there in the phrase, or spaces and hyphens.
    """
    wanted, there = find_words(phrase), find_words(prompt)
    if not wanted:
        return []
    gaps = [_between(phrase, a, b) for a, b in pairwise(wanted)]
    found = []
    for k in range(len(there) - len(wanted) + 1):
        part = there[k : k + len(wanted)]
        met = [_between(prompt, a, b) for a, b in pairwise(part)]
        joined = all(
            one == gap or not one.strip("-\u2010\u2011\u2013")
            for one, gap in zip(met, gaps, strict=True)
        )
        if joined and [one.text for one in part] == [one.text for one in wanted]:
            found.append((part[0].start, part[-1].end))
    return found


def _between(text: str, one: Word, other: Word) -> str:
    return "".join(text[one.end : other.start].split())


STOP = frozenset(
    "a an the of with in on and or to year old years view is by for from between above x ray no".split()
)
"""Words that have no map unless they are asked for."""

ANATOMY = ("right lung", "left lung", "lungs", "lung", "heart", "ribs", "diaphragm", "mediastinum")
"""Words that are mapped first."""


def default_words(prompt: str, vocabulary: Vocabulary | None) -> list[str]:
    """The words of a prompt worth a map: content words, anatomy first, at most six."""
    there = split_words(prompt)
    chosen = [w for w in ANATOMY if f" {w} " in f" {' '.join(there)} "]
    covered = {part for phrase in chosen for part in phrase.split()}
    for word in dict.fromkeys(there):
        skip = word in STOP or word in covered or word.isdigit()
        if not skip and (vocabulary is None or word in vocabulary.counts):
            chosen.append(word)
    return chosen[:6]
