"""Words a checkpoint knows, and its tokenizer."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lungsynth.errors import CheckpointError
from lungsynth.prompts import (
    VOCABULARY_NAME,
    Vocabulary,
    find_words,
    split_words,
)
from lungsynth.training.diffusion.parts import count_words, train_tokenizer

CAPTIONS = ["Chest X-ray of a man with pneumonia", "chest x-ray, both lungs", "60-year-old man"] * 3


def test_words_are_lower_case_letters_and_numbers() -> None:
    assert split_words("A 60-year-old man's X-ray!") == [
        "a",
        "60",
        "year",
        "old",
        "man's",
        "x",
        "ray",
    ]
    assert split_words("🫁 صدر") == ["صدر"] and split_words("🫁 !? _") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Röntgen", ["röntgen"]),
        ("Ro\u0308ntgen", ["röntgen"]),  # the same, its marks apart
        ("\ufb01lm of the o\ufb03ce", ["film", "of", "the", "office"]),  # ligatures
        ("ЛЁГКИЕ, рентген", ["лёгкие", "рентген"]),
        ("胸部X線 肺炎", ["胸部", "x", "線", "肺炎"]),
        ("1girl, T4 and 19a", ["1girl", "t4", "and", "19a"]),
        ("a child\u2019s x\u2011ray", ["a", "child's", "x", "ray"]),
        ("सीने का एक्सरे", ["सीने", "का", "एक्सरे"]),  # marks belong to the word
        ("ＰＡ ｖｉｅｗ", ["pa", "view"]),  # letters of double width
        ("5'3 don't 'quoted'", ["5", "3", "don't", "quoted"]),
        ("straße İ", ["straße", "i\u0307"]),
    ],
)
def test_words_of_every_script(text: str, words: list[str]) -> None:
    assert split_words(text) == words
    for word in find_words(text):  # where a word stands, it stands again
        assert split_words(text[word.start : word.end]) == [word.text]


@example("¼\U00016f4f")  # a mark after it
@given(st.text(max_size=60))
def test_words_stand_in_order_and_apart(text: str) -> None:
    found = find_words(text)
    assert all(word.text and 0 <= word.start < word.end <= len(text) for word in found)
    # they share a sign where one sign is letters of two words: "¼" is "1" and "4"
    assert all(a.end - 1 <= b.start and a.end <= b.end for a, b in pairwise(found))


def test_known_and_unknown_words_in_order_each_once() -> None:
    vocabulary = count_words(CAPTIONS)
    assert vocabulary.counts["chest"] == 6
    assert vocabulary.known("Lungs, chest, dragon, lungs") == ["lungs", "chest"]
    assert vocabulary.unknown("dragon chest zebra dragon") == ["dragon", "zebra"]


def test_round_trip_puts_frequent_words_first(tmp_path: Path) -> None:
    vocabulary = count_words(CAPTIONS)
    vocabulary.save(tmp_path)
    loaded = Vocabulary.load(tmp_path)
    assert loaded == vocabulary
    assert loaded is not None and next(iter(loaded.counts)) in ("chest", "x", "ray", "man")
    assert Vocabulary.load(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("junk", ["{", "{}", "[]", '{"words": 3}', '{"words": {"a": "many"}}', ""])
def test_a_broken_file_is_a_checkpoint_error(tmp_path: Path, junk: str) -> None:
    (tmp_path / VOCABULARY_NAME).write_text(junk)
    with pytest.raises(CheckpointError, match="vocabulary"):
        Vocabulary.load(tmp_path)


def test_any_latin_prompt_is_spelt_without_loss() -> None:
    tokenizer = train_tokenizer(CAPTIONS, max_length=32)
    for text in ("zebra quartz", "chest x-ray", '7-year-old: (90%) "ok"/no & yes + more; a.b\'c!?'):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
        assert tokenizer.eos_token_id not in ids[1:-1]
        spelt = tokenizer.decode(ids[1:-1]).replace(" ", "")
        assert spelt == text.lower().replace(" ", "")
    assert len(tokenizer("pneumonia")["input_ids"]) == 3  # a frequent word is one token


def test_padding_is_the_end_token_and_the_limit_holds() -> None:
    tokenizer = train_tokenizer(CAPTIONS, max_length=16)
    ids = tokenizer("chest", padding="max_length", truncation=True)["input_ids"]
    assert len(ids) == 16 and set(ids[2:]) == {tokenizer.eos_token_id}
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert len(tokenizer("chest " * 50, truncation=True)["input_ids"]) == 16


def test_the_same_captions_give_the_same_tokenizer() -> None:
    one, two = (train_tokenizer(CAPTIONS, max_length=16) for _ in range(2))
    assert one.get_vocab() == two.get_vocab()
