"""Results that several masks of one picture share, kept for as long as someone wants them.

A slider on the page changes the CRF and not the walk before it. Inside `keeping(store)` the steps of
`lungsynth.masks.fusion` look up their last result before they compute it, whichever refinement runs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Store = dict[str, tuple[Hashable, Any]]
"""Step -> (what its last result depends on, that result)."""

_store: ContextVar[Store | None] = ContextVar("store", default=None)


@contextmanager
def keeping(store: Store) -> Iterator[None]:
    """Inside it, the last result of each step is kept in `store` and found there."""
    before = _store.set(store)
    try:
        yield
    finally:
        _store.reset(before)


def kept(step: str, key: Callable[[], Hashable], compute: Callable[[], T]) -> T:
    """The step's last result where its key is the same, else a new one.

    Args:
        step: Name of the step.
        key: Gives everything the result depends on; not called where nothing is kept.
        compute: Makes the result.
    """
    store = _store.get()
    if store is None:
        return compute()
    now = key()
    if step not in store or store[step][0] != now:
        store[step] = (now, compute())
    result: T = store[step][1]
    return result


def digest(array: NDArray[Any]) -> bytes:
    """Of an array's bytes, shape and dtype: equal arrays have equal digests."""
    found = blake2b(repr((array.shape, array.dtype.str)).encode(), digest_size=16)
    found.update(np.ascontiguousarray(array).data)
    return found.digest()
