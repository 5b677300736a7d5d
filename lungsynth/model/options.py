"""How pictures are drawn: every option with its default and its limits, in one place.

The command line, a release's YAML file, links, the page and its endpoints take them from here. Imports
nothing heavy, so `--help` and a link are read without torch.

An option is a field of a dataclass, which the command line, a YAML file and a caller in Python share:

    @dataclass(frozen=True, kw_only=True)
    class DrawCommand:
        \"\"\"Draw pictures.\"\"\"

        out: Path = option(path="dir", metavar="DIR", help="Where they go.")
        n: int = option(default=1, min=1, help="How many.")

`lungsynth.cli.command` makes the command of it, `publish.data.settings` reads it from YAML.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any

MAX_STEPS, MAX_GUIDANCE = 1000, 50.0
"""What a person may ask of their own machine."""

LINK_STEPS, LINK_GUIDANCE = 100, 20.0
"""What a link, or a visitor of the page, may ask of somebody else's."""


@dataclass(frozen=True, slots=True)
class Scheduler:
    """A diffusers scheduler with what is set beside the checkpoint's noise schedule."""

    kind: str  # class name
    settings: Mapping[str, bool] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What a record and a row say: the class, and the spacing where it is not the usual one."""
        return f"{self.kind} (log-SNR)" if self.settings.get(LOG_SNR) else self.kind


LOG_SNR = "use_lu_lambdas"
"""Steps at equal distances in log-SNR (Lu et al., arXiv 2211.01095): more of them where detail is drawn."""

SCHEDULERS = {
    "ddim": Scheduler("DDIMScheduler"),
    "dpm": Scheduler("DPMSolverMultistepScheduler"),
    "dpm-log": Scheduler("DPMSolverMultistepScheduler", {LOG_SNR: True}),
    "euler": Scheduler("EulerDiscreteScheduler"),
    # without its Runge-Kutta start, as Stable Diffusion runs it: one call of the U-Net a step
    "pndm": Scheduler("PNDMScheduler", {"skip_prk_steps": True}),
    "lcm": Scheduler("LCMScheduler"),
}
"""Short names of schedulers; "default" keeps the checkpoint's."""


def scheduler_label(config: Mapping[str, Any]) -> str:
    """What a record says of a scheduler with this configuration, as in `scheduler_config.json`."""
    return Scheduler(str(config["_class_name"]), {LOG_SNR: bool(config.get(LOG_SNR))}).label


SCHEDULER_HELP = f"default, {', '.join(list(SCHEDULERS)[:-1])} or {list(SCHEDULERS)[-1]}."

PRECISION_NAMES = ("auto", "fp32", "bf16")
"""Of `lungsynth.model.precision`."""

PRECISION_HELP = (
    "Number format of {}; auto is bf16 where the processor has it, half the time, else fp32."
)


def option(
    *names: str,
    default: Any = MISSING,
    default_factory: Callable[[], Any] | Any = MISSING,
    **how: Any,
) -> Any:
    """A field of a dataclass that is an option.

    Args:
        names: As the command line writes it; left out: `--` and the field's name.
        default: See `dataclasses.field`. Left out: it must be given; but a flag is then off, and a
            list empty unless `required`.
        default_factory: Likewise.
        how: `help` and `metavar`; `min`, `max`, `above` and `below` of a number, the last two
            excluded; `choices`; `path` ("dir" or "file") and `exists`; `required` of a list;
            `commas` for a list in one text; `show=False` to keep the default out of the help;
            `refinements=True` to put their names in place of NAMES in the help.
    """
    given = {"default": default, "default_factory": default_factory}
    return field(
        **{name: value for name, value in given.items() if value is not MISSING},
        metadata={"names": names, **how},
    )


def argument(*, metavar: str | None = None, **how: Any) -> Any:
    """A field that stands on the command line without a name; `metavar` is that of the help."""
    return field(metadata={"names": None, "metavar": metavar, **how})


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """How pictures are drawn."""

    steps: int = 15  # denoising steps
    guidance: float = 1.5  # classifier-free guidance scale; 1 = off
    # timesteps (low, high), both included, where guidance is on; None = everywhere
    guidance_interval: tuple[float, float] | None = None
    height: int | None = None  # pixels; None = the checkpoint's side
    width: int | None = None  # pixels; None = the checkpoint's side
    scheduler: str = "default"  # a key of SCHEDULERS, or "default"
    precision: str = "auto"  # of the denoising network; see lungsynth.model.precision
    keep_steps: bool = False  # keep the attention of every step
