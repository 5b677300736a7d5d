"""`release.yaml`: what is taken, and that everything else is refused by name."""

from __future__ import annotations

import pytest

from lungsynth.errors import ConfigError, DataError
from publish.data.settings import FilterSettings, Settings, read_settings


def written(tmp_path, text):
    path = tmp_path / "release.yaml"
    path.write_text(text)
    return path


def test_defaults_need_only_n():
    assert read_settings(None, {"n": 3}) == Settings(n=3)
    assert read_settings(None, {"n": 3, "seed": None}).seed == 0
    changed = read_settings(None, {"n": 3, "ignore_band": 0.1, "apply_filter": False})
    assert changed.refine.ignore_band == 0.1 and changed.filter.apply is False


def test_a_whole_file_is_read(tmp_path):
    (tmp_path / "model").mkdir()
    settings = read_settings(
        written(
            tmp_path,
            """
n: 1000
guidance: 3
model: model
prompts: [one film, another film]
splits: {train: 0.9, test: 0.1}
classes: [left lung]
refine: {method: crf, crf: {n_iters: 3}}
filter: {min_trust: 0.5, sides: false, areas: {heart: [0.01, 0.2]}}
evaluation: [masks.json, /there/masks.json]
card:
  title: Our films
  authors: [Ann, Ben]
  sources: [{name: Kermany, licence: cc-by-4.0, url: "https://example.org"}]
""",
        )
    )
    assert settings.n == 1000
    assert settings.guidance == 3.0 and isinstance(settings.guidance, float)
    assert settings.model == str(tmp_path / "model")
    assert settings.prompts == ("one film", "another film")
    assert settings.refine.crf.n_iters == 3 and settings.refine.method == "crf"
    assert settings.filter == FilterSettings(
        min_trust=0.5, sides=False, areas={"heart": (0.01, 0.2)}
    )
    assert settings.evaluation == (str(tmp_path / "masks.json"), "/there/masks.json")
    assert settings.card.sources[0].licence == "cc-by-4.0" and settings.card.authors == (
        "Ann",
        "Ben",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n: 10\nsteps: 5\nstep: 4", r"unknown key 'step'; expected one of n, seed"),
        ("n: 10\nn: 11", r"key 'n' stands twice"),
        ("n: ten", r"`n` is 'ten' \(str\); expected a whole number"),
        ("n: 1.5", r"`n` is 1.5 \(float\)"),
        ("n: true", r"`n` is True \(bool\); expected a whole number"),
        ("n: '10'", r"`n` is '10' \(str\)"),
        ("n: 0", r"`n` is 0; expected 1 to"),
        ("n: -4", r"`n` is -4; expected 1 to"),
        ("seed: 3", r"`n` is missing"),
        ("n: 1\nsteps: 2000", r"`steps` is 2000; expected 1 to 1000"),
        ("n: 1\nguidance: .nan", r"`guidance` is nan; expected 1 to 50"),
        ("n: 1\nkeep_attention: 1", r"`keep_attention` is 1 \(int\); expected true or false"),
        ("n: 1\nsplits: [train]", r"`splits` is \['train'\] \(list\); expected a mapping"),
        ("n: 1\nsplits: {train: all}", r"`splits.train` is 'all' \(str\); expected a number"),
        ("n: 1\nclasses: lung", r"`classes` is 'lung' \(str\); expected a list"),
        ("n: 1\nclasses: [3]", r"`classes\[0\]` is 3 \(int\); expected text"),
        ("n: 1\nfilter: false", r"`filter` is False \(bool\); expected `key: value` lines"),
        ("n: 1\nfilter: {min: 1}", r"unknown key 'filter.min'; expected one of apply, min_area"),
        ("n: 1\nfilter: {min_area: 2}", r"`filter.min_area` is 2.0; expected 0 to 1"),
        ("n: 1\nfilter: {min_area: 0.9}", r"filter.min_area 0.9 is above filter.max_area"),
        ("n: 1\nrefine: {methode: crf}", r"unknown key 'refine.methode'"),
        ("n: 1\ncard: {sources: [{name: A}]}", r"`card.sources\[0\].licence` is missing"),
        ("n: 1\nseed: 99999999999999999999", r"`seed` is 9+; expected 0 to"),
        ("- n", r"a list; expected `key: value` lines"),
        ("n: [", r"not YAML"),
        ("n: !!python/object/apply:os.system ['true']", r"not YAML"),
        ("? {a: 1}\n: 2", r"not YAML"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read_settings(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_settings(tmp_path / "nothing.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_settings(tmp_path / "b.yaml")
