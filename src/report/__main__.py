"""A page about a run: its curves, its network, what it has learnt, and what it gets wrong.

python -m src.report --workdir=DIR[,DIR…] [--checkpoint=newest|best] [--neighbors_among=10000]

The page is DIR/report/index.html, of the first DIR; the others' curves are drawn beside its own.
"""

import importlib.util
from pathlib import Path

from ..cli.app import run
from ..cli.flags import CommandFlags
from ..errors import UserError

FLAGS = CommandFlags()
WORKDIR = FLAGS.workdirs("The run, and others for its curves.")
CHECKPOINT = FLAGS.checkpoint()
AMONG = FLAGS.integer(
    "neighbors_among", 10_000, "Training images to search for neighbors, at most.", lower_bound=1
)

EXTRA = ("jinja2", "matplotlib")


def check_extra() -> None:
    """Raises UserError where what draws the page is not installed."""
    if missing := [name for name in EXTRA if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"{' and '.join(missing)} not installed: what draws the page is an extra; "
            "pip install -e '.[report]'"
        )


def main() -> None:
    check_extra()
    from . import page  # which needs them

    workdirs = [Path(name) for name in WORKDIR.value]
    path = page.write(workdirs, checkpoint=CHECKPOINT.value, among=AMONG.value)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
