"""datatrove's executor of one machine, over worker processes whose death is noticed."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from datatrove.executor import LocalPipelineExecutor

from publish.build.pool import in_processes


class ProcessExecutor(LocalPipelineExecutor):  # type: ignore[misc]  # it is not annotated
    """As `LocalPipelineExecutor`, with its markers, logs and resume.

    Its own `run` waits for ever when a worker process is killed, for `multiprocess.Pool` replaces
    the process but forgets its task.
    """

    gpus: list[str] | None = None

    def run(self) -> None:
        """Run the ranks that are not complete.

        Raises:
            WorkerError: a worker process was killed.
            Exception: what a rank raised, the first of it.
        """
        ranks = self.get_incomplete_ranks()
        self.save_executor_as_json()
        for _ in in_processes(self._rank, ranks, min(self.workers, len(ranks)), gpus=self.gpus):
            pass

    def _rank(self, rank: int) -> Any:
        with contextlib.redirect_stderr(io.StringIO()):  # its log has everything
            self._run_for_rank(rank, local_rank=1)
        return rank
