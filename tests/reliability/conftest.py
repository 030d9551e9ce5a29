"""Processes of their own: a fork server that has imported everything once, and children forked from it."""

import multiprocessing
import os

import pytest


@pytest.fixture(scope="session")
def in_processes():
    """`in_processes(target, *arguments)`: runs `runs.<target>` in one process for each tuple of arguments.

    Returns the processes' exit codes: 0, or minus the signal that killed it.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.reliability.runs"])
    from tests.reliability import runs

    def start(target: str, *arguments: tuple, timeout: float = 60) -> list[int]:
        processes = [context.Process(target=runs.child, args=(target, *given), daemon=False) for given in arguments]
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout)
            if process.exitcode is None:
                process.kill()
                process.join()
        return [process.exitcode for process in processes]

    return start
