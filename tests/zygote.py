"""A process that has imported the slow libraries and forks a child for each job: `python -m tests.zygote MODULE...`.

One that has imported torch can fork another that imports more, and then answers jobs in its turn.

To import torch and ultralytics takes two to three seconds, and most tests that need a process do not depend on it. A
child has its own working directory, environment, output and exit status, and nothing of it reaches the next one. What
depends on how Python starts (start-up files, flags, an environment that torch reads) takes a fresh interpreter.

A job is a line of JSON: `argv`, `code` to be run as `python -c`, `cwd`, `env`, and the files `out` and `err`; the
answer is a line with the exit status. Or it has `modules` to be imported in `env`, and the pipes `jobs` and `answers`.
"""

import gc
import json
import os
import signal
import sys
import traceback
from importlib import import_module


def child(job):
    """Run a job in this process, which was forked for it, and end."""
    signal.alarm(900)  # as long as `interpreters.run` waits for a command; a job that hangs ends with SIGALRM
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.argv[:] = job["argv"]  # ultralytics keeps the list itself
    sys.path[0] = ""
    status = 0
    try:
        exec(compile(job["code"], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status & 255)


def answer(modules, jobs, answers):
    """Import, then answer jobs until there are no more."""
    for name in modules:
        import_module(name)
    gc.collect()
    gc.freeze()  # else each collection in a child would search, and copy, all that was imported
    for line in jobs:
        job = json.loads(line)
        pid = os.fork()
        if not pid and "modules" in job:
            os.environ.clear()
            os.environ.update(job["env"])
            with open(job["jobs"]) as more, open(job["answers"], "w") as their_answers:
                answer(job["modules"], more, their_answers)
            os._exit(0)
        if not pid:
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            child(job)
        if "modules" not in job:
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=answers, flush=True)


if __name__ == "__main__":
    first = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import prints is no answer
    answer(sys.argv[1:], sys.stdin, first)
