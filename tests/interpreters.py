"""Processes: fresh interpreters, forks of one that has imported torch already, and a training that is killed."""

import functools
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.places import ROOT

PRELOADED = {  # what a fork has imported; those of torch and bare neither ultralytics nor this package
    "ultralytics": (
        "ultralytics.models",
        "ultralytics.nn.tasks",
        "ultralytics.engine.exporter",
        "torch._inductor",
        "torch.fx.experimental.symbolic_shapes",
        "torchvision",
        "thop",
        "PIL.JpegImagePlugin",
        "matplotlib.pyplot",
        "scipy.stats",
        "polars",
        "requests",
    ),
    "clip": (
        "ultralytics.models",
        "torch._inductor",
        "timm",
        "open_clip",
        "lightning",
        "torchmetrics",
        "huggingface_hub",
    ),
    "torch": (
        "torch",
        "torch._inductor",
        "torchvision",
        "cv2",
        "matplotlib.pyplot",
        "scipy",
        "PIL.Image",
        "yaml",
        "requests",
    ),
}
PRELOADED["bare"] = PRELOADED["torch"]  # in an interpreter that has read no start-up files
ENTRY = {  # command of this environment: what its console script does
    "yolo": "from ultralytics.cfg import entrypoint; entrypoint()",
    "diffattn": "import sys; from ultralytics_diffattn.cli import main; sys.exit(main())",
    "diffattn compare": "from tests.interpreters import compare_with_forks; compare_with_forks()",
}


def run(*command, cwd=None, check=True, **env):
    """Run a command, return the finished process with its output as text."""
    process = subprocess.run(
        [str(c) for c in command], cwd=cwd, env=environment(env), capture_output=True, text=True, timeout=900
    )
    return checked(process) if check else process


def python(code, *flags, cwd=None, check=True, **env):
    """Run code in a fresh interpreter."""
    return run(sys.executable, *flags, "-c", code, cwd=cwd, check=check, **env)


def forked(code, *arguments, cwd=None, check=True, preloaded="ultralytics", name="-c", **env):
    """Run code as `python` does, in a fork of a process that has imported ultralytics (or torch alone)."""
    jobs, answers = start_zygote(
        preloaded, **(env if preloaded == "clip" else {})
    )  # huggingface_hub reads it at import
    with tempfile.TemporaryDirectory() as folder:
        out, err = (os.path.join(folder, name) for name in ("out", "err"))
        job = {
            "code": code,
            "argv": [name, *map(str, arguments)],
            "cwd": str(cwd or os.getcwd()),
            "out": out,
            "err": err,
        }
        print(json.dumps({**job, "env": environment(env)}), file=jobs, flush=True)
        answer = answers.readline()
        assert answer, "the process that forks has died"
        texts = (Path(file).read_text(encoding="utf-8") for file in (out, err))
        process = subprocess.CompletedProcess(["forked", *job["argv"][1:], code], int(answer), *texts)
    return checked(process) if check else process


RANKS = """
import os, runpy, signal, sys
ranks = []
for rank in "01":
    if not (pid := os.fork()):
        signal.alarm(300)  # a rank would wait for ever for one that has died
        os.environ.update(RANK=rank, LOCAL_RANK=rank)
        runpy.run_path({!r}, run_name="__main__")
        break
    ranks.append(pid)
else:
    sys.exit(any([os.waitpid(pid, 0)[1] for pid in ranks]))
"""


def two_ranks(script, *arguments, cwd, **env):
    """Run a script as the two ranks of one training, in forks without ultralytics; both have to succeed."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    common = {**env, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    forked(RANKS.format(script), *arguments, cwd=cwd, preloaded="torch", **common)


def command(name, *arguments, cwd, check=True, preloaded="ultralytics", **env):
    """Run a command of this environment; `yolo` and `diffattn` in a fork, but as their scripts do.

    The trainings of `diffattn compare` are then forks, too: test_compare.py has them in fresh processes. Variables that
    ultralytics reads when it is imported need `preloaded="torch"`; those that Python reads at its start need `run`.
    """
    file = Path(sys.executable).with_name(name)
    if name not in ENTRY:
        return run(file, *arguments, cwd=cwd, check=check, **env)
    entry = ENTRY.get(f"{name} {arguments[0]}", ENTRY[name])
    return forked(entry, *arguments, cwd=cwd, check=check, preloaded=preloaded, name=str(file), **env)


def compare_with_forks():
    """Do what `diffattn` does, in a process that has run nothing yet, with a fork for each training of `compare`."""
    from ultralytics_diffattn import cli
    from ultralytics_diffattn.comparison import exports, schedule

    sys.path.insert(0, str(ROOT))
    schedule.run_module = exports.run_module = _fork_module
    sys.exit(cli.main())


def _fork_module(module, *arguments):
    """Run a module as `child_process.run_module` does, in a fork."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        os.close(writing)  # else its own end would keep stdin open
        os.dup2(reading, 0)
        os.setsid()
        sys.argv[1:] = map(str, arguments)
        status = 1
        try:
            status = importlib.import_module(module).main(*sys.argv[1:])
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(reading)
    status = os.waitpid(pid, 0)[1]
    os.close(writing)
    return os.waitstatus_to_exitcode(status)


def script(name, *arguments, cwd=None, check=True, **env):
    """Run a script of scripts/ in a fork."""
    file = ROOT / "scripts" / name
    code = "import runpy, sys; sys.path.insert(0, {!r}); runpy.run_path({!r}, run_name='__main__')"
    return forked(code.format(str(file.parent), str(file)), *arguments, cwd=cwd, check=check, **env)


def yolo(*arguments, cwd, **env):
    """Run the stock `yolo` command of this environment; what it saves goes below `cwd`."""
    preloaded = "torch" if env else "ultralytics"  # which reads some of the environment when it is imported
    return command("yolo", *arguments, f"project={cwd}", cwd=cwd, preloaded=preloaded, **env)


def environment(changes):
    """Return the environment of a child."""
    variables = {**os.environ, **changes}
    variables.pop("PYTEST_CURRENT_TEST", None)  # it makes ultralytics write its runs into site-packages
    return variables


def checked(process):
    """Return the process, or raise with its output if it failed."""
    if process.returncode:
        raise AssertionError(f"{process.args} ended with {process.returncode}:\n{process.stdout}\n{process.stderr}")
    return process


@functools.cache
def start_zygote(preloaded, **env):
    """Start a process that forks, once, and return the pipes to it; it ends with this one, which then closes the first.

    What has imported more than torch is a fork of the one that has torch.
    """
    variables = environment({**env, "OPENBLAS_NUM_THREADS": "1"})  # else forks lack threads of the import
    if preloaded in ("bare", "torch"):
        words = [sys.executable, *(["-S"] if preloaded == "bare" else []), "-m", "tests.zygote", *PRELOADED[preloaded]]
        variables |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} if preloaded == "bare" else {}
        pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(words, cwd=ROOT, env=variables, text=True, **pipe)
        return process.stdin, process.stdout
    with tempfile.TemporaryDirectory() as folder:
        pipes = {name: os.path.join(folder, name) for name in ("jobs", "answers")}
        for pipe in pipes.values():
            os.mkfifo(pipe)
        jobs, _ = start_zygote("torch")
        print(json.dumps({**pipes, "modules": PRELOADED[preloaded], "env": variables}), file=jobs, flush=True)
        return open(pipes["jobs"], "w"), open(pipes["answers"])  # each waits for the other side


KILLED = """
import os
from ultralytics import YOLO
model = YOLO("yolo11n-diffattn.yaml")
model.add_callback("on_model_save", lambda trainer: trainer.epoch == {epochs} - 1 and os._exit(9))
model.train(data={data!r}, project={project!r}, name="killed", epochs={epochs} + 1, imgsz=64, batch=4, workers=0,
            plots=False, device="cpu", seed=1)
"""


def train_and_kill(data, cwd, epochs):
    """Train below `cwd`, kill the process one epoch before the end, return the folder of its weights."""
    killed = forked(KILLED.format(data=str(data), project=str(cwd), epochs=epochs), cwd=cwd, check=False)
    assert killed.returncode == 9, killed.stderr
    return cwd / "killed" / "weights"
