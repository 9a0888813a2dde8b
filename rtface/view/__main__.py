"""The page beside a run: a child of the supervisor that only reads."""

from __future__ import annotations

from rtface import child
from rtface.platform import step_back
from rtface.view.serve import NICE, Settings, serve


def run(line: child.Line) -> None:
    """Serve the page of the run that started this process, until told to stop."""
    settings = Settings(**line.job["settings"])
    step_back(NICE)
    serve(settings, lambda: line.stopping, lambda: line.report("ready"))
    line.report("done")


if __name__ == "__main__":
    child.main(run)
