"""Serves a page to try a network on, and predictions over HTTP.

python -m src.serve --workdir=DIR [--port=8000] [--views=1|9|10] [--nearest]

Open http://127.0.0.1:8000 in a browser on this machine, or send images to /predict:
curl --data-binary @IMAGE http://127.0.0.1:8000/predict. Ctrl-C ends it after the last answer.
"""

import socket
from pathlib import Path
from typing import Any

from ..cli.app import run
from ..cli.flags import CommandFlags
from ..errors import UserError, check_extra
from ..inference.classifier import Classifier, load
from .explanation import TrainingImages

FLAGS = CommandFlags()
WORKDIR = FLAGS.string("workdir", None, "The run whose network to serve.", required=True)
PORT = FLAGS.integer("port", 8000, "Port; 0: any.", lower_bound=0, upper_bound=65535)
VIEWS = FLAGS.views()
CHECKPOINT = FLAGS.checkpoint()
NEAREST = FLAGS.boolean(
    "nearest", None, "Show the nearest training images. Default: if there are at most 2,000."
)

HOST = "127.0.0.1"
MAX_CONNECTIONS = 512  # each may hold 64 kB


def main() -> None:
    check_extra("serve")
    import uvicorn

    from .app import Service

    workdir = Path(WORKDIR.value)
    with _listen(PORT.value) as listener:
        classifier = load(workdir, checkpoint=CHECKPOINT.value)
        training, missing = _training_images(workdir, classifier)
        counts = {"step": classifier.step, "classes": len(classifier.class_names)}
        about = {"run": {"name": workdir.resolve().name, **counts}, "missing": missing}
        service = Service(classifier, about, VIEWS.value, training)
        service.warm_up()
        plain: Any = {"lifespan": "off", "ws": "none", "log_config": None, "access_log": False}
        config = uvicorn.Config(
            service.app(), **plain, limit_concurrency=MAX_CONNECTIONS, timeout_graceful_shutdown=10
        )
        port = listener.getsockname()[1]
        print(f"ready: http://{HOST}:{port} ({workdir}; Ctrl-C ends it)", flush=True)
        uvicorn.Server(config).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        reason, _, _ = str(error.strerror).partition(" (")
        raise UserError(f"--port={port}: {reason}; give another, or 0 for any free one") from None


def _training_images(workdir: Path, classifier: Classifier) -> tuple[TrainingImages | None, str]:
    """The training images; None if the page leaves them out, and why."""
    hint = "Start the server with --nearest to see them."
    if NEAREST.value is False:
        return None, hint
    try:
        return TrainingImages(workdir, classifier, is_asked=bool(NEAREST.value)), ""
    except (UserError, OSError) as error:
        if NEAREST.value:
            raise
        return None, f"They are left out: {error}. {hint}"


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
