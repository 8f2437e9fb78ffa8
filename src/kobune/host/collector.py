"""Python's search for garbage in cycles, tuned for servers."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def patient_collector() -> Iterator[None]:
    """Look for garbage in cycles more rarely.

    A control plane's many objects live long and form no cycles; with Python's defaults, going over them all again and
    again was 40 per cent of its work while a large cluster came up.
    """
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
