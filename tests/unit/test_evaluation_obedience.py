"""Reading samples, counting judgements, intervals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from evaluation_films import image_set, picture, random_encoder
from PIL import Image

from lungsynth.errors import DataError, OutputError
from lungsynth.evaluation.common import (
    CHOSEN_BY,
    Interval,
    read_samples,
    resample_clusters,
)
from lungsynth.evaluation.reports import write_report
from lungsynth.evaluation.words.judgement import score_tasks
from lungsynth.evaluation.words.obedience import evaluate_obedience, obedience_table
from lungsynth.model.encoder import Embedding, embed

ADULT = {"age_group": "adult"}


def judged(view: list[float]) -> Embedding:
    """An embedding whose view head gives these chances of AP."""
    n = len(view)
    chances = {head: np.zeros(n) for head in ("age_group", "finding", "sex")}
    return Embedding(np.zeros((n, 2)), {**chances, "view": np.array(view)})


def test_confusion_counts_by_hand() -> None:
    labels = np.array([[0, 0, -1, -1], [0, 0, -1, -1], [0, 1, -1, -1], [0, -1, -1, -1]])
    score = score_tasks(judged([0.1, 0.9, 0.8, 0.9]), labels, list("abcd"))["view (adults)"]
    assert score.counts.tolist() == [[1, 1], [0, 1]]
    assert score.report()["accuracy"]["value"] == pytest.approx(2 / 3, rel=1e-5)
    assert score.report()["balanced_accuracy"]["value"] == pytest.approx(0.75)


def test_pictures_of_one_patient_are_resampled_together() -> None:
    labels = np.tile([0, 0, -1, -1], (40, 1))
    chances = [0.1] * 20 + [0.9] * 20  # half right
    alone = score_tasks(judged(chances), labels, [str(i) for i in range(40)])
    paired = score_tasks(judged(chances), labels, ["a"] * 20 + ["b"] * 20)
    first, second = (s["view (adults)"].interval(False) for s in (alone, paired))
    assert first.value == second.value == 0.5
    assert (second.low, second.high) == (0.0, 1.0)
    assert first.low > 0.3


def test_resampled_sums_keep_the_number_of_clusters() -> None:
    sums = resample_clusters(np.ones((7, 2)), np.random.default_rng(0), 50)
    assert sums.shape == (50, 2)
    assert (sums == 7).all()


def test_interval_holds_the_middle_of_the_draws() -> None:
    interval = Interval.of(0.5, np.linspace(0, 1, 1001))
    assert (interval.low, interval.high) == pytest.approx((0.025, 0.975))
    assert interval.percent() == "50.0 [2.5, 97.5]"


def test_obedience_compares_samples_with_real_films() -> None:
    real = image_set(32)
    # samples are the real films, asked for what the encoder sees in them: always obeyed
    encoder = random_encoder()
    judgement = embed(encoder, real.images).decisions("sex")
    asked = [{**ADULT, "sex": "MF"[j], "finding": "normal"} for j in judgement]
    report = evaluate_obedience(image_set(32, fields=asked), real, encoder)
    sex = report["tasks"]["sex (adults)"]
    assert sex["synthetic"]["accuracy"]["value"] == 1.0
    gap = 100 * (1.0 - sex["real"]["balanced_accuracy"]["value"])
    assert sex["balanced_accuracy_points"]["value"] == pytest.approx(gap, abs=1e-3)
    assert "sex (adults), real (rows true, columns judged)" in obedience_table(report)


def test_figures_before_and_after_a_choice_are_never_mixed(tmp_path: Path) -> None:
    real, encoder = image_set(32), random_encoder()
    asked = [{**ADULT, "sex": "MF"[k % 2]} for k in range(8)]
    chosen = [{**one, CHOSEN_BY: "abc"} for one in asked]
    before = evaluate_obedience(image_set(8, fields=asked), real, encoder)
    after = evaluate_obedience(image_set(8, fields=chosen), real, encoder)
    assert (before["verifier"], after["verifier"]) == ("", "abc")
    assert obedience_table(before).startswith("Before any choice")
    assert obedience_table(after).startswith("After reject and redraw by the verifier abc")
    with pytest.raises(DataError, match="before and after reject and redraw are never mixed"):
        evaluate_obedience(image_set(8, fields=asked[:4] + chosen[4:]), real, encoder)
    lines = [
        {"file": "a.png", "prompt": "x", "fields": {}, "verify": {"verifier": "abc"}},
        {"file": "a.png", "prompt": "x", "fields": {}},
    ]
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    (tmp_path / "records.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [one.get(CHOSEN_BY, "") for one in read_samples(tmp_path).fields] == ["abc", ""]


def test_samples_without_fields_are_refused() -> None:
    with pytest.raises(DataError, match=r"No sample tells what was asked.*records\.jsonl"):
        evaluate_obedience(image_set(4, fields=[{}] * 4), image_set(4), random_encoder())


def test_reads_records_lines(tmp_path: Path) -> None:
    for i in range(3):
        Image.fromarray(picture(i, pixels=64)).save(tmp_path / f"{i}.png")
    lines = [{"file": f"{i}.png", "prompt": "x", "fields": {**ADULT, "view": "PA"}} for i in (2, 0)]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    samples = read_samples(tmp_path)
    assert samples.names == ["2.png", "0.png"]
    assert samples.images.shape == (2, 256, 256)
    assert samples.fields[0]["view"] == "PA"


def test_reads_a_folder_a_picture_and_no_masks(tmp_path: Path) -> None:
    for name in ("b", "a", ".c.partial"):
        (tmp_path / name).mkdir()
        Image.fromarray(picture(0)).save(tmp_path / name / "image.png")
        Image.fromarray(picture(1)).save(tmp_path / name / "mask.png")
        (tmp_path / name / "record.json").write_text(json.dumps({"prompt": name, "fields": ADULT}))
    samples = read_samples(tmp_path)
    assert samples.names == ["a/image.png", "b/image.png"]
    assert samples.fields == [{"prompt": name, **ADULT} for name in "ab"]


def test_reads_bare_pictures_and_draws_a_limit(tmp_path: Path) -> None:
    for i in range(6):
        Image.fromarray(picture(i)).save(tmp_path / f"{i}.png")
    first, again, other = (read_samples(tmp_path, limit=3, seed=s).names for s in (0, 0, 3))
    assert first == again
    assert first != other
    assert len(first) == 3


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ('{"fields": 3}', "expected an object"),
        ('{"file": "gone.png"}', "gone.png does not exist"),
    ],
)
def test_bad_records_name_their_line(tmp_path: Path, record: str, words: str) -> None:
    (tmp_path / "records.jsonl").write_text(record + "\n")
    with pytest.raises(DataError, match=rf"records.jsonl:1.*{words}"):
        read_samples(tmp_path)


def test_an_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no picture here. Expected records\.jsonl"):
        read_samples(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        read_samples(tmp_path / "gone")


def test_a_corrupt_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a\.png: the image cannot be decoded"):
        read_samples(tmp_path)


def test_a_report_that_cannot_be_written_names_the_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Choose another --out"):
        write_report({}, tmp_path / "file" / "report.json")
