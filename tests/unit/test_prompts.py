"""Checking prompts, and finding the tokens of a word."""

from __future__ import annotations

from typing import Any

import pytest

from lungsynth.errors import PromptError, WordError
from lungsynth.prompts import MAX_CHARACTERS, default_words, read_prompt, word_tokens
from lungsynth.training.diffusion.parts import count_words, train_tokenizer

CAPTIONS = ["chest x-ray of a man with pneumonia in the right lung, left lung and both lungs"] * 4
VOCABULARY = count_words(CAPTIONS)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(CAPTIONS, max_length=24)


def spelt(tokenizer: Any, prompt: str, indices: tuple[int, ...]) -> str:
    ids = tokenizer(prompt)["input_ids"]
    return tokenizer.decode([ids[i] for i in indices]).strip()


@pytest.mark.parametrize("text", ["", "   ", "\n\t", None, 7])
def test_an_empty_prompt(tokenizer: Any, text: Any) -> None:
    with pytest.raises(PromptError, match=r"empty. Describe the film"):
        read_prompt(text, tokenizer, VOCABULARY)


def test_a_prompt_of_ten_thousand_characters(tokenizer: Any) -> None:
    with pytest.raises(PromptError, match="10,000 characters; at most 2,000"):
        read_prompt("lung " * 2000, tokenizer, VOCABULARY)
    read_prompt("lung " * (MAX_CHARACTERS // 5), tokenizer, VOCABULARY)


@pytest.mark.parametrize("text", ["dragon castle", "🫁🫁", "صورة صدر", "胸部レントゲン", "!!! ???"])
def test_no_known_word(tokenizer: Any, text: str) -> None:
    with pytest.raises(PromptError, match=r"was seen in training.*chest"):
        read_prompt(text, tokenizer, VOCABULARY)


def test_known_and_unknown_words_are_told_apart(tokenizer: Any) -> None:
    report = read_prompt("  Chest  x-ray 🫁 of a dragon صدر\n", tokenizer, VOCABULARY)
    assert report.text == "Chest x-ray 🫁 of a dragon صدر"
    assert report.known == ("chest", "x", "ray", "of", "a")
    assert report.unknown == ("dragon", "صدر")
    assert report.dropped == ""


def test_without_a_vocabulary_every_word_counts_as_known(tokenizer: Any) -> None:
    report = read_prompt("a dragon", tokenizer, None)
    assert report.known == ("a", "dragon") and report.unknown == ()


def test_text_is_composed(tokenizer: Any) -> None:
    assert read_prompt("lung pleure\u0301", tokenizer, VOCABULARY).text == "lung pleuré"


@pytest.mark.parametrize(
    "word", ["röntgen", "film", "лёгких", "肺炎", "1girl", "x-ray", "left lung"]
)
def test_what_is_reported_as_a_word_has_a_map(word: str) -> None:
    """The report and the maps split alike, so every word of a report can be mapped."""
    tokenizer = train_tokenizer(CAPTIONS, max_length=77)
    typed = "Ro\u0308ntgen \ufb01lm, лёгких 肺炎 1girl x-ray left lung"
    report = read_prompt(typed, tokenizer, VOCABULARY)
    assert report.unknown == ("röntgen", "film", "лёгких", "肺炎", "1girl")
    for one in (word, word.upper()):
        assert word_tokens(report.text, one, tokenizer)
    for one in (*report.known, *report.unknown):
        assert word_tokens(report.text, one, tokenizer)
    for part in ("ntgen", "girl", "1", "炎"):
        with pytest.raises(WordError, match=r"does not occur.*röntgen, film, лёгких, 肺炎, 1girl"):
            word_tokens(report.text, part, tokenizer)


def test_a_phrase_does_not_span_a_comma(tokenizer: Any) -> None:
    prompt = "chest lungs, left lung and left-lung"
    assert len(word_tokens(prompt, "left lung", tokenizer)) > 2
    assert word_tokens(prompt, "lungs, left", tokenizer)
    with pytest.raises(WordError, match="does not occur"):
        word_tokens(prompt, "lungs left", tokenizer)


def test_what_the_model_does_not_read_is_reported(tokenizer: Any) -> None:
    report = read_prompt("lung " * 30 + "heart", tokenizer, VOCABULARY)
    assert report.n_tokens > 24
    assert report.dropped.startswith("lung") and report.dropped.endswith("heart")
    n_dropped = report.dropped.split().count("lung")
    assert n_dropped == 30 - 22  # the limit, less start and end


def test_tokens_of_a_word_and_of_a_phrase(tokenizer: Any) -> None:
    prompt = "Chest X-ray, left lung and right lung"
    assert spelt(tokenizer, prompt, word_tokens(prompt, "left lung", tokenizer)) == "left lung"
    assert spelt(tokenizer, prompt, word_tokens(prompt, "RIGHT  Lung", tokenizer)) == "right lung"
    assert (
        spelt(tokenizer, prompt, word_tokens(prompt, "x-ray", tokenizer)).replace(" ", "")
        == "x-ray"
    )
    assert spelt(tokenizer, prompt, word_tokens(prompt, "lung", tokenizer)) == "lung lung"


def test_all_pieces_of_an_unseen_word(tokenizer: Any) -> None:
    indices = word_tokens("a hippopotamus, chest", "hippopotamus", tokenizer)
    assert len(indices) > 2 and indices == tuple(range(indices[0], indices[-1] + 1))
    assert spelt(tokenizer, "a hippopotamus, chest", indices) == "hippopotamus"


@pytest.mark.parametrize("word", ["heart", "lun", "lung", "", "  ", "lungs chest"])
def test_a_word_not_in_the_prompt_lists_those_there_are(tokenizer: Any, word: str) -> None:
    with pytest.raises(WordError, match=r"does not occur.*chest, of, both, lungs"):
        word_tokens("chest of both lungs", word, tokenizer)


def test_a_word_beyond_the_limit(tokenizer: Any) -> None:
    with pytest.raises(WordError, match="beyond the 24 tokens"):
        word_tokens("lung " * 30 + "pneumonia", "pneumonia", tokenizer)
    assert word_tokens("lung " * 30, "lung", tokenizer) == tuple(range(1, 23))


@pytest.mark.parametrize("before", ["🫁🫁 ", "İİİİ ", "صدر ", "é ", "ﬁ "])
def test_other_scripts_do_not_move_the_tokens(tokenizer: Any, before: str) -> None:
    prompt = f"{before}chest lungs pneumonia"
    assert spelt(tokenizer, prompt, word_tokens(prompt, "lungs", tokenizer)) == "lungs"


def test_default_words_name_anatomy_first() -> None:
    prompt = "A 60-year-old man with pneumonia, left lung and heart"
    words = default_words(prompt, None)
    assert words[0] == "left lung" and words.index("heart") < words.index("pneumonia")
    assert not {"a", "60", "year", "left", "with"} & set(words)
    assert "dragon" not in default_words("dragon chest", VOCABULARY)
    assert len(default_words("one two three four five six seven eight nine ten", None)) == 6


def test_words_of_other_scripts_are_printed_as_they_are_written(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from types import SimpleNamespace

    from lungsynth.cli.run import sample
    from lungsynth.cli.sample import WordsCommand

    pipe = SimpleNamespace(tokenizer=tokenizer)
    monkeypatch.setattr(sample, "load_pipeline", lambda model: (pipe, VOCABULARY))
    sample.run_words(WordsCommand(prompt="Röntgen of the lung, 肺"))
    assert '"unknown": ["röntgen", "肺"]' in capsys.readouterr().out
