"""What may go wrong, and when: the n-th request of a kind meets a fault."""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass, field

ROUTES = (
    "whoami",
    "create",
    "info",
    "refs",
    "tree",
    "validate-yaml",
    "preupload",
    "batch",
    "put",
    "verify",
    "commit",
    "tag",
    "resolve",
)
"""Kinds of requests."""

ANYWHERE = ("500", "503", "429", "429-retry-after", "cut", "cut-after", "slow")
"""Faults every request can meet."""

SPECIAL = {
    "commit": ("409", "412", "500-after", "403"),
    "tag": ("500-after", "403"),
    "create": ("500-after",),
    "put": ("corrupt", "lost", "rotten", "cut-half"),
    "verify": ("refused",),
}
"""Faults of one kind of request only."""


@dataclass(frozen=True)
class Fault:
    """What happens to one request, or from it on to several."""

    route: str
    nth: int  # 0 = the first of its route
    kind: str
    seconds: float = 1.0  # to wait, told in headers; or how slow

    def __str__(self) -> str:
        return f"{self.route}[{self.nth}]:{self.kind}"


@dataclass
class Schedule:
    """The faults a server will show, each once; and how many requests it has seen."""

    faults: list[Fault] = field(default_factory=list)
    is_down: bool = False  # answer nobody
    down_after: int | None = None  # requests until it goes down
    down_kind: str = "cut"  # how: "cut" hangs up, "hang" takes the request and never answers
    seen: Counter[str] = field(default_factory=Counter)
    happened: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, route: str) -> Fault | None:
        """The fault of the request that has just come."""
        with self.lock:
            nth = self.seen[route]
            self.seen[route] += 1
            total = sum(self.seen.values())
            if self.is_down or (self.down_after is not None and total > self.down_after):
                return Fault(route, nth, self.down_kind)
            for fault in self.faults:
                if (fault.route, fault.nth) == (route, nth):
                    self.happened.append(fault)
                    return fault
            return None


def random_schedule(seed: int, *, slow_seconds: float) -> Schedule:
    """Up to seven faults; one time in ten the Hub goes down for good after some requests."""
    rng = random.Random(seed)
    faults = []
    for _ in range(rng.choice((1, 1, 2, 2, 3, 5, 7))):
        route = rng.choice((*ROUTES, "commit", "commit", "put", "put", "tag"))
        kind = rng.choice((*ANYWHERE, *SPECIAL.get(route, ()) * 3))
        if kind == "slow":
            seconds = slow_seconds
        else:
            seconds = rng.choice((1, 5, 30)) if rng.random() < 0.95 else 100_000
        faults.append(Fault(route, rng.choice((0, 0, 0, 1, 1, 2, 3)), kind, seconds))
    down = rng.randrange(5, 60) if rng.random() < 0.1 else None
    return Schedule(faults, down_after=down)
