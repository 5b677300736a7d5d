"""What a prompt asks for, as far as the verifier can judge it."""

from __future__ import annotations

import re

FEMALE = re.compile(r"\b(woman|women|female|girl|lady)\b")
MALE = re.compile(r"\b(man|men|male|boy|gentleman)\b")
CHILD = re.compile(r"\b(child|children|toddler|infant|paediatric|pediatric|boy|girl|baby)\b")
YEARS = re.compile(
    r"\b(\d{1,3})[- ]year(?:s)?(?:[- ]old)?\b|\baged (\d{1,3})\b|\bchild of (\d{1,2}) years\b"
)
NORMAL = re.compile(
    r"\b(normal|no findings?|no abnormality|healthy|unremarkable|no acute findings|clear lungs|"
    r"lungs are clear|no pneumonia)\b"
)
OTHER = re.compile(r"\b(tubercul\w*|tb|covid\w*)\b")
NEGATED = re.compile(r"\b(?:no|without) (?:signs? of )?pneumonia\b")


def asked_years(prompt: str) -> int | None:
    """The age a prompt names, in years; None where it names none."""
    found = YEARS.search(prompt.lower())
    return int(next(part for part in found.groups() if part)) if found else None


def asked_fields(prompt: str) -> dict[str, str]:
    """Age group, view, finding and sex a prompt asks for, in the terms of the encoder's heads.

    What a prompt does not say, or says both ways, is left out, and so are view and sex of children,
    which the encoder was not taught. Pneumonia of COVID-19 and tuberculosis are no "pneumonia" here.

    Returns:
        Some of `age_group` (adult, child), `view` (PA, AP), `finding` (normal, pneumonia), `sex`
        (M, F).
    """
    text = prompt.lower()
    years, fields = asked_years(text), dict[str, str]()
    child = years < 18 if years is not None else bool(CHILD.search(text))
    sexes = [name for name, words in (("F", FEMALE), ("M", MALE)) if words.search(text)]
    if child or years is not None or sexes or re.search(r"\badult\b", text):
        fields["age_group"] = "child" if child else "adult"
    views = [view for view in ("PA", "AP") if re.search(rf"\b{view.lower()}\b", text)]
    if len(views) == 1 and not child:
        fields["view"] = views[0]
    if len(sexes) == 1 and not child:
        fields["sex"] = sexes[0]
    sick = bool(re.search(r"\bpneumonia\b", NEGATED.sub("", text)))
    normal = bool(NORMAL.search(text))
    if sick != normal and not OTHER.search(text):
        fields["finding"] = "pneumonia" if sick else "normal"
    return fields
