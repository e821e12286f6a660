"""Writes the log, the metrics, the checkpoints and the model of a run.

Every process calls these methods; the main process writes.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safediffusion.config import RunConfig
from safediffusion.diffusion.load import DTYPES
from safediffusion.errors import RunError, UserError
from safediffusion.files.atomic import replacing_folder, write_text
from safediffusion.files.checked import understood
from safediffusion.files.contents import Resumable, Step
from safediffusion.files.hashes import write_sums
from safediffusion.files.json_lines import append_jsonl, readable_rows
from safediffusion.files.run_folder import RunFolder
from safediffusion.system import distributed
from safediffusion.text.escaping import plain
from safediffusion.training import checkpoint
from safediffusion.training.learner import Learner
from safediffusion.training.random_state import by_process, of_process, random_state, restore_random_state

log = logging.getLogger(__name__)

Row = dict[str, Any]


def flat(row: Row, prefix: str = "") -> Row:
    """A metrics row with dotted names instead of nested ones."""
    values: Row = {}
    for name, value in row.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return values


class Recorder:
    """Saves a learner to a run folder and restores it."""

    def __init__(self, config: RunConfig, learner: Learner, folder: RunFolder) -> None:
        self.config, self.learner, self.folder = config, learner, folder
        self.root = folder.checkpoints

    def log(self, line: str) -> None:
        """Append a line to log.txt."""
        if distributed.is_main():
            self.folder.log.parent.mkdir(parents=True, exist_ok=True)
            with self.folder.log.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {plain(line)}\n")

    def record(self, row: Row) -> None:
        """Append a row to metrics.jsonl."""
        if distributed.is_main():
            append_jsonl(self.folder.metrics, row)

    def save(self, step: int, state: Row, values: Row) -> None:
        """Write a checkpoint; `values` are metrics by which it may be the best one, without any it is not."""
        random = by_process(distributed.all_gather_object(random_state()))
        state = {**state, "score": self.score(values), "processes": distributed.count()}
        tensors, keep = self.learner.state() | {"random": random}, self.config.train.keep_checkpoints
        if distributed.is_main():
            checkpoint.keep_best(self.root, checkpoint.save(self.root, step, tensors, state, keep))
        distributed.barrier()

    def score(self, values: Row) -> float | None:
        """The value that train.keep_best names, higher is better; None where it was not measured.

        A value that is not finite, or of a task with failed images, counts as not measured: it could look
        better than it is.

        Raises:
            UserError: no metric has that name.
        """
        wanted = self.config.train.keep_best
        if wanted is None or not values:
            return None
        name = wanted.removeprefix("-")
        if name not in values and "/" not in name:
            known = ", ".join(k for k, v in values.items() if isinstance(v, float))
            raise UserError(f"train.keep_best is {wanted}, which is not measured; known: {known}")
        value = values.get(name)
        if value is None or not math.isfinite(value) or values.get(f"{name.split('/')[0]}/blank_rate"):
            return None
        return -value if wanted != name else value

    def resume(self, before: Callable[[], None] = lambda: None) -> Row | None:
        """Restore the newest undamaged checkpoint.

        Args:
            before: called just before the weights are replaced, where there is a checkpoint.

        Returns:
            Its state, or None where there is no checkpoint.

        Raises:
            RunError: there are checkpoints and all are damaged.
        """
        path, error = self._choose() if distributed.is_main() else (None, None)
        path, error = distributed.all_gather_object((path, error))[0]
        if error:
            raise RunError(error)
        if path:
            before()
        state = self._load(path) if path else None
        if distributed.is_main():
            step = state["step"] if state else 0
            # rows of later rounds go, as those rounds are run again
            rows = [row for row in readable_rows(self.folder.metrics, Step) if row["step"] <= step]
            write_text(self.folder.metrics, "".join(json.dumps(row) + "\n" for row in rows))
        return state

    def _choose(self) -> tuple[Path | None, str | None]:
        """The checkpoint to resume from, or the reason why none can be used."""
        try:
            checkpoint.mend_copies(self.root)
            path = checkpoint.newest_whole(self.root)
            if path:
                checkpoint.keep_best(
                    self.root, path
                )  # the process may have been killed between writing and copying it
                checkpoint.prune(self.root, self.config.train.keep_checkpoints)
        except RunError as error:
            return None, str(error)
        return path, None

    def _load(self, path: Path) -> Row:
        state, tensors = checkpoint.read_state(path), checkpoint.read_tensors(path)
        with understood(path):
            Resumable.model_validate(state)
            self.learner.load(tensors)
            if own := of_process(tensors["random"], distributed.rank()):
                restore_random_state(own)
        before, now = state["processes"], distributed.count()
        changed = f", on {distributed.describe_count(now)} instead of {before}" if before != now else ""
        self.log(f"resumed after round {state['step']}{changed}")
        return state

    def keep_healthy(self) -> Path | None:
        """Copy the newest healthy checkpoint to `healthy`; returns its path in the main process."""
        return checkpoint.keep_healthy(self.root) if distributed.is_main() else None

    def finish(self, step: int, collapsed: bool) -> None:
        """Write model/: healthy weights after a collapse, else those of train.keep_best or the last."""
        chosen = self.keep_healthy() if collapsed else self.root / checkpoint.BEST
        chosen = distributed.all_gather_object(chosen)[0]
        if self.config.train.keep_best and not (collapsed or (chosen and chosen.exists())):
            log.warning(
                "train.keep_best=%s was never measured; model/ holds the weights of the last round",
                self.config.train.keep_best,
            )
        if collapsed and not chosen:
            log.warning("no healthy checkpoint is left; model/ holds the collapsed weights of round %d", step)
        if chosen and chosen.exists():
            checkpoint.check(chosen)
            step = checkpoint.read_state(chosen)["step"]
            self.learner.load(checkpoint.read_tensors(chosen))
            why = "healthy" if collapsed else f"best by {self.config.train.keep_best}"
            self.log(f"model/ is from round {step}, the {why} checkpoint {chosen}")
        with self.learner.evaluation_weights():
            if distributed.is_main():
                self.export()
        distributed.barrier()

    def export(self) -> None:
        """Write model/, whole or not at all, with the hashes of its files."""
        with replacing_folder(self.folder.model) as folder:
            self.learner.diffuser.export(folder, DTYPES[self.config.train.export_dtype])
            write_sums(folder)
