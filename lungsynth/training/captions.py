"""Captions: many truthful ways to say what a film shows.

People type "60-year-old man, pneumonia right lower lung" as well as full sentences, so the model is
trained on every film under many wordings: parts dropped, reordered, paraphrased; telegram style and
sentences. Anatomy words come and go with the framing (`lungsynth.films.framing`), so that "left lung" is
not true of every picture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from lungsynth.films.framing import WHOLE

NOUNS = (
    "chest X-ray",
    "chest X-ray",
    "chest radiograph",
    "X-ray of the chest",
    "CXR",
    "chest film",
    "chest x-ray image",
    "radiograph of the chest",
    "X-ray",
    "chest xray",
)
WHOLE_ANATOMY = (
    "both lungs visible",
    "lungs, heart and diaphragm in view",
    "left lung, heart and right lung",
    "the heart between the two lungs",
    "both lungs and the heart",
    "whole chest in view",
    "ribs, clavicles, lungs and heart",
    "the lungs",
    "lungs and ribs",
    "full view of both lungs",
    "right lung and left lung",
    "lungs above the diaphragm",
    "mediastinum between the lungs",
)
CLOSE_UP_ANATOMY: dict[str, tuple[str, ...]] = {
    "right lung": (
        "close-up of the right lung",
        "right lung only",
        "zoomed view of the right lung",
        "the right lung and the heart border",
    ),
    "left lung": (
        "close-up of the left lung",
        "left lung only",
        "zoomed view of the left lung",
        "the left lung and the heart",
    ),
    "upper zones": (
        "close-up of the upper zones",
        "upper lungs and clavicles",
        "zoomed view of the lung apices",
        "upper fields only",
    ),
    "lower zones": (
        "close-up of the lower zones",
        "lung bases, heart and diaphragm",
        "zoomed view of the lower lungs",
        "lower fields only",
    ),
    "neck and shoulders": (
        "neck and shoulders",
        "no lungs below the apices, neck and shoulders",
        "shoulders, clavicles and neck",
    ),
    "upper abdomen": (
        "upper abdomen below the diaphragm",
        "diaphragm and abdomen",
        "mostly abdomen, lungs cut off",
    ),
    "shifted left": ("shifted, left lung cut off", "off-centre view, more of the right lung"),
    "shifted right": ("shifted, right lung cut off", "off-centre view, more of the left lung"),
}
NORMAL = (
    "normal",
    "no finding",
    "clear lungs",
    "healthy",
    "no abnormality",
    "lungs are clear",
    "unremarkable",
    "no acute findings",
    "normal lungs",
    "no pneumonia",
    "left lung clear, right lung clear",
)
SYNONYMS: dict[str, tuple[str, ...]] = {
    "bacterial pneumonia": ("bacterial pneumonia", "pneumonia", "pneumonia, bacterial"),
    "viral pneumonia": ("viral pneumonia", "pneumonia", "pneumonia, viral"),
    "covid-19": ("COVID-19 pneumonia", "COVID-19", "covid pneumonia", "pneumonia due to COVID-19"),
    "effusion": ("pleural effusion", "effusion"),
    "infiltration": ("infiltration", "infiltrates"),
    "edema": ("pulmonary edema", "edema", "oedema"),
    "cardiomegaly": ("cardiomegaly", "enlarged heart"),
    "tuberculosis": ("tuberculosis", "pulmonary tuberculosis", "TB"),
}

P_ANATOMY, P_FINDINGS, P_VIEW, P_PATIENT = 0.55, 0.98, 0.75, 0.95
"""How often a caption names the anatomy of a whole chest, the findings, the view, the patient. What
is left out is learnt as "anything"; leaving findings out often costs them their meaning."""


def pick(rng: np.random.Generator, wordings: Sequence[str]) -> str:
    """One of several wordings."""
    return str(rng.choice(wordings))


def describe_patient(fields: Mapping[str, str], rng: np.random.Generator) -> str:
    """Age and sex in one of many wordings; "" when neither is known."""
    sex = {"M": "male", "F": "female"}.get(fields.get("sex", ""), "")
    age_text = fields.get("age", "").strip()
    if age_text == "1-5":
        years = int(rng.integers(1, 6))
        plain = ("toddler", "paediatric patient", "pediatric patient")
        aged = (f"child of {years} years", "small child", f"child, {years} years old")
        return pick(rng, ("young child", "child", f"{years}-year-old child", *plain, *aged))
    age = int(age_text) if age_text.isdigit() and 0 < int(age_text) < 110 else None
    if age is None:
        noun = {
            "male": ("man", "male patient", "male", "adult man"),
            "female": ("woman", "female patient", "female", "adult woman"),
            "": ("adult", "patient"),
        }[sex]
        return pick(rng, noun)
    if age < 18:
        noun = {"male": ("boy", "male"), "female": ("girl", "female"), "": ("child",)}[sex]
        return f"{age}-year-old {rng.choice(noun)}"
    noun = {
        "male": ("man", "male", "male patient"),
        "female": ("woman", "female", "female patient"),
        "": ("patient", "adult"),
    }[sex]
    who = pick(rng, noun)
    group = "young adult" if age < 40 else "middle-aged" if age < 65 else "elderly"
    style = rng.random()
    if style < 0.6:
        return f"{age}-year-old {who}"
    if style < 0.7:
        return f"{who}, {age} years old"
    if style < 0.78:
        return f"{who} aged {age}"
    if style < 0.9:
        return f"{group} {who}"
    return f"adult {who}" if who in ("male", "female") else who


def describe_findings(fields: Mapping[str, str], text: str, rng: np.random.Generator) -> str:
    """The findings in one of many wordings; "" when nothing is known of them."""
    label = fields.get("label", "").strip().lower()
    raw = fields.get("findings", "").strip().lower()
    if fields.get("place") and rng.random() < 0.6:
        return describe_place(fields["place"], raw or label, rng)
    if fields.get("source_set") == "shenzhen" and label == "tuberculosis":
        told = text.split(". ", 1)[1].strip(" .") if ". " in text else "tuberculosis"
        told = told[:1].lower() + told[1:]
        if rng.random() < 0.5:
            told = re.sub(r"\bpulmonary tuberculosis\b", "tuberculosis", told)
        if rng.random() < 0.3:
            told = re.sub(r"\bfield\b", pick(rng, ["lung", "zone", "lobe"]), told)
        return told
    if raw in ("", "nan"):
        raw = label
    if raw in ("normal", "no finding"):
        return pick(rng, NORMAL)
    parts = [part.strip() for part in raw.replace(",", "|").split("|") if part.strip()]
    if not parts:
        return ""
    if len(parts) > 1 and rng.random() < 0.35:
        parts = [parts[i] for i in rng.permutation(len(parts))[: int(rng.integers(1, len(parts)))]]
    parts = [str(rng.choice(SYNONYMS.get(part, (part.replace("_", " "),)))) for part in parts]
    if len(parts) == 1:
        return parts[0]
    parts = [parts[i] for i in rng.permutation(len(parts))]
    return ", ".join(parts[:-1]) + f" and {parts[-1]}"


def describe_place(place: str, findings: str, rng: np.random.Generator) -> str:
    """A finding whose reader drew its box, with side and zone: "opacity in the right lower zone"."""
    nouns = ["opacity", "lung opacity", "opacity"]
    nouns += [n for n in ("pneumonia", "consolidation", "infiltration") if n in findings]
    noun = pick(rng, nouns)
    if place == "bilateral":
        return pick(rng, [f"bilateral {noun}", f"{noun} in both lungs", f"{noun} on both sides"])
    side, zone = place.split()
    if rng.random() < 0.25:
        return pick(rng, [f"{side} {noun}", f"{noun} in the {side} lung", f"{side}-sided {noun}"])
    where = pick(rng, ["zone", "zone", "field", "lung"])
    return pick(rng, [f"{noun} in the {side} {zone} {where}", f"{side} {zone} {where} {noun}"])


def describe_framing(framing: str, rng: np.random.Generator) -> str:
    """Anatomy words that are true of a framing. Close-ups are always named, whole chests at times."""
    if framing != WHOLE:
        return pick(rng, CLOSE_UP_ANATOMY[framing])
    return pick(rng, WHOLE_ANATOMY) if rng.random() < P_ANATOMY else ""


def caption(text: str, fields: Mapping[str, str], framing: str, rng: np.random.Generator) -> str:
    """One caption of a picture, drawn from `rng`.

    Args:
        text: The film's own text; used as it stands at times, and always when no field is known.
        fields: Metadata (`view`, `age`, `sex`, `findings`, `label`, `source_set`).
        framing: Name of the framing (`lungsynth.films.framing`).
        rng: Source of randomness.
    """
    known = any(fields.get(k) for k in ("view", "findings", "label", "age", "sex"))
    anatomy = describe_framing(framing, rng)
    if text and (not known or rng.random() < 0.12):
        return f"{text.rstrip(' .')}. {anatomy}." if anatomy else text
    patient = describe_patient(fields, rng) if rng.random() < P_PATIENT else ""
    findings = describe_findings(fields, text, rng) if rng.random() < P_FINDINGS else ""
    view = fields.get("view", "").upper() if rng.random() < P_VIEW else ""
    noun = pick(rng, NOUNS)
    frontal = pick(rng, ["Frontal ", "frontal ", "", ""])
    style = rng.random()
    if style < 0.55:  # sentence
        view_word = f"{view} " if view else ""
        of = f" of a {patient}" if patient else ""
        out = f"{frontal}{view_word}{noun}{of}"
        if findings:
            if findings in NORMAL:
                out += pick(rng, [". ", ", ", ": "]) + findings
            else:
                out += pick(rng, [" with ", ". ", " showing ", ", "]) + findings
        if anatomy:
            out += pick(rng, [". ", ", "]) + anatomy
    elif style < 0.7:  # findings first
        out = f"{findings} on {frontal.lower()}{noun}" if findings else f"{frontal}{noun}"
        out += f", {patient}" if patient else ""
        out += f", {view} view" if view else ""
        out += f", {anatomy}" if anatomy else ""
    else:  # telegram
        parts = [p for p in (f"{view} view" if view else "", patient, findings, anatomy, noun) if p]
        out = ", ".join(parts[i] for i in rng.permutation(len(parts)))
    if rng.random() < 0.3:
        out = out.lower()
    elif rng.random() < 0.5:
        out = out[:1].upper() + out[1:]
    return out + ("." if rng.random() < 0.5 else "")


def is_child(fields: Mapping[str, str]) -> bool:
    """True for an age under 18 years ("1-5" counts as 5)."""
    age = fields.get("age", "").split("-")[-1].strip()
    return age.isdigit() and int(age) < 18
