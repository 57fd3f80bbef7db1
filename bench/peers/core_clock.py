"""The command `medseg` with a clock of processor time: a quiet machine's budget on a busy one.

    python core_clock.py CORES train DATASET --out RUN --budget 15m

A second has passed when the process has computed for CORES seconds, on all its threads together.
"""

import runpy
import sys
import time


def main() -> None:
    cores = float(sys.argv.pop(1))

    def clock() -> float:
        return time.process_time() / cores

    time.monotonic = clock
    time.perf_counter = clock
    runpy.run_module("medseg", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
