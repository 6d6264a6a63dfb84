"""Writes a page about a run: its curves, its network, what it learned and what it gets wrong.

python -m src.report --workdir=DIR[,DIR…] [--checkpoint=newest|best] [--neighbors_among=10000]

The page is report/index.html in the first DIR. It also shows the curves of the other runs.
"""

from pathlib import Path

from ..cli.app import run
from ..cli.flags import CommandFlags
from ..errors import check_extra

FLAGS = CommandFlags()
WORKDIR = FLAGS.workdirs("The run directory, and those of other runs to compare curves with.")
CHECKPOINT = FLAGS.checkpoint()
AMONG = FLAGS.integer(
    "neighbors_among", 10_000, "Training images to search for neighbors, at most.", lower_bound=1
)


def main() -> None:
    check_extra("report")
    from . import page  # needs the extra

    workdirs = [Path(name) for name in WORKDIR.value]
    path = page.write(workdirs, checkpoint=CHECKPOINT.value, among=AMONG.value)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
