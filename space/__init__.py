"""The page: a prompt in, a synthetic X-ray with attention maps and masks out."""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "0")  # read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Gradio's own statistics: after each event a table of all events kept, in Python
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "100000000")
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")
