"""What README.md and docs/ say: commands run, the table of costs is what scripts/models.py prints, files exist."""

import json
import re
import runpy
import shlex
import shutil
import warnings

import pytest
import torch
from PIL import Image
from ultralytics import YOLO

from tests.interpreters import command as command_of
from tests.interpreters import forked, train_and_kill, yolo
from tests.pages import CLIP_COMMANDS, COMMANDS, PAGES, WORDS_BLOCKS, anchors, blocks, links
from tests.places import ROOT
from tests.samples import old_checkpoint
from ultralytics_diffattn import cli
from ultralytics_diffattn.benchmark import report, retrieval_report
from ultralytics_diffattn.data import catalogue, shapes
from ultralytics_diffattn.plugin import new_module, user_files
from ultralytics_diffattn.plugin.registry import MODULES
from ultralytics_diffattn.verbs import compare, compare_arguments
from ultralytics_diffattn.verbs.arguments import parse
from ultralytics_diffattn.weights import reconstruction

NOT_RUN = {  # command: why
    'pip install ".[clip]"': "network",
    'pip install ".[compare]"': "network",
    "python scripts/version.py 0.1.0": "it writes into the checkout; scripts/test_version.py",
    "bash scripts/release.sh 0.1.0": "network; scripts/test_release.py",
    "bash scripts/try_wheel.sh uv dist/*.whl": "network; scripts/test_release.py",
    **{
        c: "tests/scripts/test_clip.py runs it small"
        for c in COMMANDS
        if re.match(r"python scripts/(captions|clip_|words)", c)
    },
    'pip install ".[ray]"': "network",
    'diffattn new CBAM like="(c1, *args)"': "the workplace has what it writes; verbs/test_new.py",
    "python -m pytest test_cbam.py": "verbs/test_new.py",
    "diffattn modules add cbam.py": "it writes into the environment; verbs/test_modules.py",
    "python scripts/study.py data=../shared/data weights=yolo11n_coco.pt project=/tmp/study workers=2": (
        "hours; scripts/test_study.py"
    ),
    "pip install -r examples/serving/requirements.txt": "network",
    'pip install ".[demo]"': "network",
    "diffattn demo port=7860": "runs until Ctrl-C; verbs/test_demo.py",
    "diffattn demo model=best.pt baseline=yolo11n.pt": "runs until Ctrl-C; demo/test_detectors.py loads both",
    "python scripts/demo_weights.py": "a quarter of an hour; test_demo_weights.py runs it small",
    "python examples/serving/client.py best.onnx image.jpg": "test_serving.py",
    **{c: "needs Docker" for c in COMMANDS if c.startswith("docker ")},
    "python scripts/formats.py images=photos weights=weights data=data.yaml": "hours; test_formats.py runs a part",
    "python scripts/matrix.py": "an hour of installing; test_matrix.py",
    "ray start --head": "starts servers; test_schedule.py spreads runs over Ray",
    "diffattn compare data=data.yaml ray=True project=/shared/compare": "a folder outside; test_schedule.py",
    "RAY_ADDRESS=10.0.0.1:6379 diffattn compare data=/shared/data.yaml ray=True project=/shared/compare": "a cluster",
    "diffattn compare data=data.yaml models=yolo11n.yaml,yolo11n-diffattn-paired.yaml teacher=none,yolo11s.pt "
    "pretrained=yolo11n.pt": "verbs/test_compare.py has teachers",
    "diffattn compare data=bccd/data.yaml,deeppcb/data.yaml models=yolo11n.yaml,yolo11n-diffattn-paired.yaml "
    "pretrained=yolo11n.pt epochs=100": "verbs/test_compare.py compares on two",
    "diffattn compare data=coco models=yolo11n.yaml,yolo11n-diffattn.yaml seeds=0,1,2 batch=128 device=0,1,2,3": (
        "20 GB, and days on GPUs"
    ),
    "diffattn compare data=data.yaml models=yolo11n.yaml,yolo11n-diffattn-paired.yaml seeds=0,1,2 "
    "pretrained=yolo11n.pt epochs=100 formats=onnx,openvino int8=True": "nncf; verbs/test_compare.py exports to ONNX",
    "diffattn compare data=data.yaml epochs=0 models=best.pt,best.onnx,predictions.json": "test_evaluated.py",
    "diffattn compare data=data.yaml epochs=0 imgsz=640 rect=False batch=1 "
    "models=yolo11n.pt,yolo11n-int8.onnx,yolo11n-int8_openvino_model": "needs nncf; test_evaluated.py has exports",
}
FIRST, TESTS = (c for c in COMMANDS if c.startswith("python3 -m venv"))
YOLO_COMMANDS = [c for c in COMMANDS if re.match(r"([A-Z_]+=\S+ )*yolo ", c)]
OUR_COMMANDS = [c for c in COMMANDS if c.startswith("diffattn ") and c not in (*NOT_RUN, *CLIP_COMMANDS)]


def test_every_command_is_accounted_for():
    """A new one has to be run here or by clip/test_commands.py, or, if it installs, by test_package.py or .ci/run."""
    assert set(COMMANDS) == {FIRST, TESTS, "pip install .", *YOLO_COMMANDS, *OUR_COMMANDS, *CLIP_COMMANDS, *NOT_RUN}


@pytest.mark.parametrize("command", [c for c in NOT_RUN if "diffattn compare " in c and "epochs=0" not in c])
def test_arguments_of_commands_that_are_not_run(command):
    words = shlex.split(command.partition("diffattn compare ")[2])
    given = parse(words, compare.OWN)
    assert len(given) == len(words)
    assert len(compare_arguments.parse_models(given.get("models", compare.OWN["models"]))) == 2
    assert compare_arguments.parse_seeds(given.get("seeds", compare.OWN["seeds"])) == [0, 1, 2]
    for data in compare_arguments.name_data_sets(compare_arguments.parse_data(given["data"])).values():
        assert data in catalogue.catalogue() or data.endswith("data.yaml")


def test_ci_runs_the_test_command():
    pattern = re.search(r"grep -m1 '(.*)' README.md", (ROOT / ".ci" / "run").read_text())[1]
    assert [c for c in COMMANDS if re.search(pattern, c)] == [TESTS]
    assert TESTS.split(" && ")[-1] == ".venv/bin/python -m pytest -n auto --dist loadfile"


def test_first_result(tmp_path):
    """The main job, as it stands, from a checkout with its data set still to be drawn."""
    (tmp_path / "cfg").symlink_to(ROOT / "cfg")
    program, *arguments = shlex.split(FIRST.split(" && ")[-1])
    assert program == ".venv/bin/yolo"
    output = yolo(*arguments, cwd=tmp_path).stdout
    map50 = float(re.findall(r"^ *all +64 +223 .* ([\d.]+) +[\d.]+$", output, re.M)[-1])
    assert map50 > 0.25, f"README promises an mAP50 near 0.42, this run ended with {map50}"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, tiny):
    """Yield a folder with small stand-ins for the files that the commands name; what is in the folder comes first."""
    cwd = tmp_path_factory.mktemp("readme")
    monkeypatch = pytest.MonkeyPatch()
    detect = tiny.read_text() + f"path: {tiny.parent}\n"
    for name in ("coco", "VOC", "data"):
        (cwd / f"{name}.yaml").write_text(detect)
    polygons = cwd / "seg" / "labels"  # each box as a polygon
    for label in tiny.parent.glob("labels/*/*.txt"):
        rows = []
        for row in label.read_text().splitlines():
            c, *box = row.split()
            x, y, w, h = map(float, box)
            corners = [(x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2)]
            rows.append(f"{c} " + " ".join(f"{v:.4f}" for corner in corners for v in corner))
        (polygons / label.parent.name).mkdir(parents=True, exist_ok=True)
        (polygons / label.parent.name / label.name).write_text("\n".join(rows))
    shutil.copytree(tiny.parent / "images", cwd / "seg" / "images")
    (cwd / "data-seg.yaml").write_text(tiny.read_text() + f"path: {cwd / 'seg'}\n")
    new_module.write("CBAM", "Conv", cwd)
    monkeypatch.setenv(user_files.PATHS, str(cwd / "cbam.py"))  # in the place of `diffattn modules add`
    for name in ("yolo11n", "yolo11s", "yolo11n-seg", "yolo26n"):
        YOLO(f"{name}.yaml").save(cwd / f"{name}.pt")
    official = YOLO("yolo12n.yaml")
    for name, module in official.model.named_modules():
        if name.endswith("pe.conv"):  # of official weights they have a bias
            module.bias = torch.nn.Parameter(torch.ones(module.out_channels))
    official.save(cwd / "yolo12n.pt")
    old_checkpoint(cwd / "old.pt")
    image = next((tiny.parent / "images" / "val").iterdir())
    (cwd / "image.jpg").write_bytes(image.read_bytes())
    as_voc_and_coco(tiny.parent, cwd)
    for i in range(16):
        (cwd / "images").mkdir(exist_ok=True)
        (cwd / "images" / f"{i}.jpg").write_bytes(image.read_bytes())
    yield cwd
    monkeypatch.undo()


def as_voc_and_coco(root, cwd):
    """Write the data set once more, as `my-voc` with XML and as `my-coco` with JSON."""
    for folder in ("my-voc/Annotations", "my-voc/JPEGImages", "my-coco/annotations", "my-coco/images"):
        (cwd / folder).mkdir(parents=True)
    coco = {"images": [], "annotations": [], "categories": [{"id": i, "name": n} for i, n in enumerate(shapes.NAMES)]}
    for image in sorted(root.glob("images/*/*")):
        shutil.copy(image, cwd / "my-voc" / "JPEGImages")
        shutil.copy(image, cwd / "my-coco" / "images")
        width, height = Image.open(image).size
        size = {"width": width, "height": height}
        coco["images"].append({"id": len(coco["images"]), "file_name": image.name, **size})
        objects = ""
        for row in (root / "labels" / image.parent.name / f"{image.stem}.txt").read_text().splitlines():
            c, x, y, w, h = map(float, row.split())
            left, top, w, h = (x - w / 2) * width, (y - h / 2) * height, w * width, h * height
            where = {"image_id": coco["images"][-1]["id"], "category_id": int(c), "bbox": [left, top, w, h]}
            coco["annotations"].append(where)
            edges = {"xmin": left, "ymin": top, "xmax": left + w, "ymax": top + h}
            box = "".join(f"<{name}>{value}</{name}>" for name, value in edges.items())
            objects += f"<object><name>{shapes.NAMES[int(c)]}</name><bndbox>{box}</bndbox></object>"
        (cwd / "my-voc" / "Annotations" / f"{image.stem}.xml").write_text(f"<annotation>{objects}</annotation>")
    (cwd / "my-coco" / "annotations" / "instances.json").write_text(json.dumps(coco))


SHORT = "epochs=1", "imgsz=64", "batch=4", "device=cpu", "workers=0", "plots=False"  # overrules what stands before it
SAID = {"train": "epochs completed", "val": "all", "predict": "Results saved to", "export": "Export complete"}


@pytest.fixture(scope="module")
def checkpoints(workplace):
    """Leave `best.pt` and `last.pt` of a training that was killed after the first of two epochs."""
    weights = train_and_kill(workplace / "data.yaml", workplace, epochs=1)
    for name in ("best.pt", "last.pt"):
        shutil.copy(weights / name, workplace)


@pytest.mark.parametrize("command", YOLO_COMMANDS)
@pytest.mark.usefixtures("checkpoints")
def test_yolo_commands(command, workplace):
    words = shlex.split(command)
    env = dict(word.split("=", 1) for word in words[: words.index("yolo")])
    arguments = words[len(env) + 1 :]
    if arguments[0] != "train":
        arguments.append("imgsz=64")
    elif "resume" not in arguments:
        arguments += SHORT
    output = yolo(*arguments, cwd=workplace, **env).stdout
    assert SAID[arguments[0]] in output


OURS_SAID = {
    "train": "epochs completed",
    "val": "COCO AP of boxes",
    "export": "found by only one of the two",
    "compare": "95 % interval",
    "robustness": "mean of corruptions",
    "attend": "attention.html in",
    "attend data=data.yaml": "A1's mass outside all boxes",
    "convert": "fine-tune it with",
    "strip": "Optimizer stripped",
    "strip format=onnx": "predicts the same without this package",
    "bench": "ratios with a target",
}


@pytest.mark.parametrize("command", OUR_COMMANDS)
@pytest.mark.usefixtures("checkpoints")
def test_diffattn_commands(command, workplace, monkeypatch):
    program, verb, *arguments = shlex.split(command)
    said = OURS_SAID.get(f"{verb} {arguments[-1]}" if arguments else verb) or OURS_SAID[verb]
    arguments += {
        "train": [*SHORT, "project=runs"],
        "compare": [
            *SHORT,
            "seeds=0,1",
            f"project={workplace / 'compare'}",
            *([f"name={len(command)}"] if "data=data.yaml" in command else []),
            "fraction=0.1",
        ],
        "export": ["imgsz=64"],
        "attend": ["imgsz=64", f"project={workplace / 'attend'}"],
        "convert": [],
        "strip": [],
        "bench": ["only=block", "threads=1", "repeats=1", "project=runs"],
    }.get(verb, ["imgsz=64", "batch=4", f"project={workplace}"])
    if any(word.startswith("reconstruct=") for word in arguments):  # some minutes, at its full length
        monkeypatch.setattr(reconstruction, "STEPS", 2)
        monkeypatch.chdir(workplace)
        assert cli.main([verb, *arguments, "imgsz=64"]) == 0
        return
    done = command_of(program, verb, *arguments, cwd=workplace)
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize("block", [block for block in blocks("python") if block not in WORDS_BLOCKS])
@pytest.mark.usefixtures("checkpoints")
def test_python_blocks(block, workplace):
    code = block.replace("epochs=100", "epochs=1, imgsz=64, batch=4, workers=0, plots=False, device='cpu'")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SyntaxWarning)
        compile(code, "block", "exec")
    forked(code, cwd=workplace)


def test_yaml_rows_build():
    import yaml
    from ultralytics.nn.tasks import parse_model

    contents = map(yaml.safe_load, blocks("yaml"))
    rows = [row for content in contents if isinstance(content, list) for row in content]
    d = {"nc": 2, "backbone": [[-1, 1, "Conv", [1024, 3, 2]], *rows], "head": [[[-1], 1, "Detect", [2]]]}
    d |= {"scales": {"n": [0.5, 0.25, 1024]}, "scale": "n"}
    assert [m.type for m in parse_model(d, ch=3, verbose=False)[0][1:3]] == [
        "ultralytics_diffattn.C2PSA_Diff",
        "ultralytics_diffattn.DiffAttention",
    ]


def test_yaml_names_the_text_encoder():
    import yaml
    from torch import nn

    from ultralytics_diffattn.plugin import text_encoder

    (content,) = (c for c in map(yaml.safe_load, blocks("yaml")) if isinstance(c, dict) and "names" not in c)
    network = nn.Module()
    network.yaml = content
    assert content.keys() == {"text_model"}
    assert text_encoder.weights_of(network) == "DiffCLIP_ViTB16_CC12M"


def test_data_yamls_are_read(tiny, tmp_path):
    import yaml
    from ultralytics.data.utils import check_det_dataset

    contents = [c for c in map(yaml.safe_load, blocks("yaml")) if isinstance(c, dict) and "names" in c]
    assert contents
    for content in contents:
        (tmp_path / "data.yaml").write_text(yaml.safe_dump({**content, "path": str(tiny.parent)}))
        assert check_det_dataset(str(tmp_path / "data.yaml"))["nc"] == len(content["names"])


def test_table_is_what_the_script_prints():
    script = runpy.run_path(str(ROOT / "scripts" / "models.py"))
    rows = re.findall(r"^\| (yolo11\S+) \| ([\d,]+) \| \+([\d.]+) % \| ([\d.]+) \| (\d+) of (\d+) \|$", COST, re.M)
    assert len(rows) == 7
    for name, params, added, gflops, transferred, tensors in rows:
        if name[6] in "lx":
            continue  # minutes, and test_models.py holds their shapes
        c = script["compare"](f"{name}.yaml", script["stock_of"](f"{name}.yaml"))
        ours, stock = c["params"]
        assert (f"{ours:,}", f"{(ours - stock) / stock:.3%}") == (params, f"{added}%")
        assert f"{c['flops'][0]:.2f}" == gflops
        assert (c["transferred"], c["tensors"]) == (int(transferred), int(tensors))


COST, FINE_TUNING = PAGES["docs/cost.md"], PAGES["docs/how-to/fine-tuning.md"]
SPEED = {  # first two cells of the tables of times, docs/cost.md's and docs/how-it-works.md's: in docs/performance.json
    ("attention alone, 400 tokens (640 px)", "YOLO11's, eager"): ("core, forward, N = 400", "plain"),
    ("attention alone, 1,600 tokens (1280 px)", "YOLO11's, eager"): ("core, forward, N = 1,600", "plain"),
    ("attention alone, 6,400 tokens", "YOLO11's, eager"): ("core, forward, N = 6,400", "plain"),
    ("attention alone, 1,600 tokens", "timm's `DiffAttention`"): ("core, forward, N = 1,600", "timm"),
    ("the same, forward and backward", "timm's `DiffAttention`"): ("core, forward and backward, N = 1,600", "timm"),
    ("`C2PSA_Diff`, 640 px", "`C2PSA`"): ("C2PSA_Diff, 20 x 20 positions", "stock"),
    ("`C2PSA_Diff`, 1280 px", "`C2PSA`"): ("C2PSA_Diff, 40 x 40 positions", "stock"),
    ("yolo11n-diffattn, 640 px", "yolo11n"): ("model, 640 px", "stock"),
    ("yolo11n-diffattn, 1280 px", "yolo11n"): ("model, 1280 px", "stock"),
    ("a training step, 640 px", "yolo11n"): ("training step, 640 px, batch 4", "stock"),
    ("exported, ONNX Runtime, 640 px", "yolo11n"): ("model exported, ONNX Runtime, 640 px", "stock"),
    ("exported, OpenVINO, 640 px", "yolo11n"): ("model exported, OpenVINO, 640 px", "stock"),
}


def test_times_are_what_the_benchmark_measured():
    measured = json.loads((ROOT / "docs" / "performance.json").read_text())
    rows = [row for group in measured["groups"].values() for row in group["rows"] if row["ours"].startswith("ours")]
    ratios = {(row["what"], row["other"], row["threads"]): row["ratio"] for row in rows}
    how = PAGES["docs/how-it-works.md"]
    table = re.findall(r"^\| (.+?) \| (\D.*?) \| ([\d.]+) \| ([\d.]+) \|$", COST + how, re.M)
    assert {(what, other) for what, other, *_ in table} == SPEED.keys()
    for what, other, *figures in table:
        assert figures == [f"{ratios[(*SPEED[what, other], threads)]:.2f}" for threads in (1, 2)], what
    (held,) = (p["mb"] for p in measured["groups"]["memory"]["curves"]["ours"] if p["tokens"] == 6400)
    assert f"{held:.0f} MB at 6,400 tokens" in how
    aims = [row["met"] for row in rows if row["target"] is not None]
    assert f"Of {len(aims)} targets that we set ourselves {sum(aims)} are met" in COST
    nodes = measured["groups"]["export"]["nodes"]
    assert f"{nodes['ours'] - nodes['stock']} nodes more than stock's {nodes['stock']}" in how
    assert (ROOT / "docs" / "performance.md").read_text() == report.as_markdown(measured)


def test_the_mechanism_is_what_the_benchmark_measured():
    """The tables word for word; the figures of the sentences above them are the tables', or those of two more pairs."""
    measured = json.loads((ROOT / "docs" / "mechanism.json").read_text())
    readings = measured["groups"]["retrieval"]["retrieval"]
    lines = retrieval_report.as_lines(readings)
    prose, _, tables = PAGES["docs/mechanism.md"].partition("Noise 0.5:")
    assert "Noise 0.5:" + tables == "\n".join(lines[lines.index("Noise 0.5:") :]) + "\n"
    strong = [r for r in readings if (r["noise"], r["tokens"]) == (1.0, 100)]
    added, paired, rows = (
        retrieval_report._accuracies(strong, name, 100)
        for name in ("control: two maps added", "paired, λ_init 0", "candidate: rows sum to 1")
    )
    for pair in ((paired, added), (added, rows)):
        tables += retrieval_report._difference(*pair)
    figure, chance = r"(?<![\d.])\d\.\d{3}\b", "0.063"  # of 16 codes
    assert set(re.findall(figure, prose)) <= {chance, *re.findall(figure, tables)}
    assert str(measured["date"]) in prose


def test_warm_start_is_what_compare_found():
    measured = (ROOT / "docs" / "warmstart.md").read_text().partition("## BCCD")[0]
    names = {"yolo11n": "yolo11n", "`paired`": "yolo11n-diffattn-paired", "`token`": "yolo11n-diffattn-token"}
    names |= {"`split`": "yolo11n-diffattn", "`split`, λ_init = 0": "yolo11n-split-lambda0"}
    head, *rows = re.findall(r"^\| (.+?) \| (\d\S*) \| (\S+) \| (\S+) \| (\S+) \|$", FINE_TUNING, re.M)
    assert head == ("model", "0", "1", "5", "20")
    assert {row[0] for row in rows} == set(names)
    for name, *values in rows:
        means = re.search(
            rf"^\| {names[name]} \| (\S+) ± \S+ \| (\S+) ± .*$", measured.partition("after epoch")[2], re.M
        )
        cells = [c.split()[0] for c in means[0].split("|")[2:-1]]  # after 0, 1, 2, 5, 10 and 20 epochs
        assert values == [cells[0], cells[1], cells[3], cells[5]], name


@pytest.mark.parametrize("page", PAGES)
def test_links_and_names(page):
    for file, anchor in links(page):
        assert (ROOT / file).exists(), file
        assert not anchor or anchor in anchors(str(file)), f"{file}#{anchor}"
    text = PAGES[page]
    for name in re.findall(r"`((?:yolo|rtdetr)[a-z0-9-]*-(?:diffattn|c2psa|c3k2)[a-z0-9-]*\.yaml)`", text):
        file = re.sub(r"^(yolo(?:e-)?\d+)[nsmlx]", r"\1", name)
        assert (ROOT / "cfg" / file).exists() or (ROOT / "cfg" / "controls" / file).exists(), name
    for script in re.findall(r"python (scripts/\S+?\.py)", text):
        assert (ROOT / script).exists(), script


def test_tables_of_files_name_all_that_there_are():
    named = set()
    for first, others in re.findall(r"^\| `(\S+)\.yaml`((?:, `-[a-z0-9-]+`)*) \|", PAGES["docs/models.md"], re.M):
        stem = first.removesuffix("-paired")
        named |= {f"{first}.yaml", *(f"{stem}{suffix}.yaml" for suffix in re.findall(r"`(\S+)`", others))}
    assert named == {file.name for file in (ROOT / "cfg").glob("*.yaml")}


def test_docstring_examples(tmp_path, monkeypatch):
    import doctest
    import importlib
    import tempfile

    import torch
    from ultralytics import settings
    from ultralytics.nn import tasks

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # what an example leaves goes with the test
    monkeypatch.setitem(settings, "datasets_dir", str(tmp_path))
    monkeypatch.setenv(user_files.INHERITED, "[]")  # what an example registers goes with the test, too
    rows = dict(MODULES)
    tried = 0
    for file in (ROOT / "ultralytics_diffattn").rglob("[a-z]*.py"):
        module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
        result = doctest.testmod(module, extraglobs={"torch": torch}, optionflags=doctest.ELLIPSIS)
        assert result.failed == 0, file
        tried += result.attempted
    for name in MODULES.keys() - rows.keys():
        del MODULES[name]
        vars(tasks).pop(name, None)
    assert tried > 60
