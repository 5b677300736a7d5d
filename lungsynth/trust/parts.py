"""What a checkpoint brings to masks beside its attention: classes, AffinityNet, student, trust."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from lungsynth.arrays import UInt8Array
from lungsynth.masks.affinity import AFFINITY_FOLDER, affinity_fields, load_affinity
from lungsynth.masks.chain import Aids, Judge
from lungsynth.masks.classes import ClassSpec, RatioSpec, load_classes, load_ratios
from lungsynth.masks.quality import ratio
from lungsynth.masks.refine import RefineConfig
from lungsynth.masks.registry import needs_affinity
from lungsynth.masks.student import STUDENT_FOLDER, StudentNetwork, load_student, student_maps
from lungsynth.masks.walk import AffinityField
from lungsynth.trust.score import (
    TRUST_FOLDER,
    Seen,
    TrustModel,
    film_scores,
    load_trust,
    timestep_agreement,
)


class MaskParts:
    """Classes and networks of a checkpoint's folder, each where the folder has it.

    Args:
        folder: The checkpoint; where it is no folder there are none.
        classes: Convention of the masks, see `lungsynth.masks.classes.load_classes`.
        device: Where the networks run.
    """

    def __init__(self, folder: Path, classes: str | None, device: str) -> None:
        here = folder.is_dir()
        self.device = device
        self.classes: list[ClassSpec] = load_classes(folder, classes) if here else []
        self.ratios: list[RatioSpec] = load_ratios(folder, classes, self.classes) if here else []
        # (H, W) grey -> its affinities, for the refinements that need them; None without a network
        self.affinity_field: Callable[[UInt8Array], AffinityField] | None = None
        own = folder / f"{AFFINITY_FOLDER}-{classes}"  # a convention may have one of its own
        place = own if own.is_dir() else folder / AFFINITY_FOLDER
        if place.is_dir():
            network = load_affinity(place).to(device)
            self.affinity_field = lambda image: affinity_fields(network, image[None])[0]
        self.student: StudentNetwork | None = None
        if (folder / STUDENT_FOLDER).is_dir():
            self.student = load_student(folder / STUDENT_FOLDER).to(device)
        self.trust: TrustModel | None = None
        if (folder / TRUST_FOLDER).is_dir():
            self.trust = load_trust(folder / TRUST_FOLDER)

    def aids(
        self,
        image: UInt8Array,
        config: RefineConfig,
        methods: Iterable[str] = (),
        seen: Seen | None = None,
    ) -> Aids:
        """What the stages of `lungsynth.masks.chain` need of this checkpoint for an image (H, W).

        Args:
            image: (H, W) grey.
            config: Its method and its student's weight decide what is computed.
            methods: Further refinements to be tried.
            seen: What is known of the picture already; None judges no mask.
        """
        walks = any(map(needs_affinity, [config.method, *methods]))
        affinities = self.affinity_field(image) if walks and self.affinity_field else None
        trust = self.trust if seen is not None else None
        asked = self.student is not None and (config.student_weight > 0 or trust is not None)
        student = student_maps(self.student, image) if self.student is not None and asked else None
        judge: Judge | None = None
        if trust is not None and seen is not None:
            judge = partial(trust.judge, student=student, seen=seen)
        return Aids(affinities, student, judge)

    def seen(
        self,
        each: Sequence[dict[int, Tensor]],
        index: int,
        image: UInt8Array,
        *,
        film: float | None = None,
    ) -> Seen:
        """What is known of a picture before its mask is made; nothing where no trust is kept.

        Args:
            each: See `read_tokens`.
            index: Of the picture in the batch.
            image: (H, W) grey.
            film: Score of the film check, where the caller has it.
        """
        if self.trust is None:
            return Seen()
        score = film_scores([image])[0] if film is None else film
        return Seen(timestep_agreement(self.classes, each, index), score)

    def measured_ratios(self, mask: UInt8Array) -> dict[str, float | None]:
        """The ratios its classes name, such as the cardiothoracic, of a mask (H, W) of class ids."""
        ids = {spec.name: spec.id for spec in self.classes}
        return {
            one.name: ratio(mask, [ids[n] for n in one.of], [[ids[n]] for n in one.within])
            for one in self.ratios
        }
