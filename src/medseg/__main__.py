"""The command `medseg`, and `python -m medseg`: the door that is open before anything is loaded."""

import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line; being interrupted is one sentence from the first moment on.

    Exits with code 1 then; commands that can leave something behind catch it themselves first.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        from medseg.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("error [interrupted]: Stopped by the user; nothing half was written.\n")
        sys.exit(1)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
