"""A checkpoint of an unfinished distillation: its student is taken, everywhere."""

import csv
import re
import shutil

import pytest
import torch
from ultralytics import YOLO
from ultralytics.cfg import get_cfg

from tests.interpreters import forked
from tests.samples import small_models, stir
from ultralytics_diffattn import cli
from ultralytics_diffattn.weights.checkpoints import load, student_file
from ultralytics_diffattn.weights.transfer import check_pretrained

distill_model = pytest.importorskip("ultralytics.nn.distill_model")
KILLED = """
import os
from ultralytics import YOLO
model = YOLO({student!r})
model.add_callback("on_model_save", lambda trainer: trainer.epoch == 0 and os._exit(9))
model.train(data={data!r}, project={project!r}, name="killed", epochs=2, imgsz=64, batch=4, workers=0, plots=False,
            device="cpu", seed=1, distill_model={teacher!r})
"""


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory, tiny):
    """Return the checkpoint of a distillation that was killed behind its first epoch; teacher and student are ours.

    The student's boxes, barely trained, would all score alike, and an export would choose others: it is stirred.
    """
    folder = tmp_path_factory.mktemp("distillation")
    yaml = small_models(folder)[1]
    torch.manual_seed(0)
    for name in ("teacher", "student"):
        stir(YOLO(yaml)).save(folder / f"{name}.pt")
    student, teacher = (str(folder / f"{name}.pt") for name in ("student", "teacher"))
    code = KILLED.format(data=str(tiny), project=str(folder), student=student, teacher=teacher)
    killed = forked(code, cwd=folder, check=False)
    assert killed.returncode == 9, killed.stderr
    weights = folder / "killed" / "weights" / "last.pt"
    saved = torch.load(weights, weights_only=False)
    assert type(saved["ema"]).__name__ == "DistillationModel", "else the tests below would show nothing"
    return shutil.copy(weights, weights.with_name("unfinished.pt"))


def yaml_of(unfinished):
    """Return the YAML of its student."""
    return str(unfinished.parents[2] / "small-diffattn.yaml")


def test_lambda_has_the_students_plain_names(unfinished):
    with open(unfinished.parents[1] / "lambda.csv", newline="") as file:
        assert list(next(csv.DictReader(file))) == ["epoch", "model.3.m.0.attn"]


def test_it_loads(unfinished):
    model, _ = load(str(unfinished))
    assert type(model).__name__ == "DetectionModel"
    assert not any("teacher" in name or "student" in name for name in model.state_dict())
    check_pretrained(str(unfinished), YOLO(yaml_of(unfinished)).model)


def test_student_file(unfinished):
    with student_file(str(unfinished)) as file:
        plain, expected = YOLO(file).model, load(str(unfinished))[0].state_dict()
        assert all(torch.equal(v, expected[n]) for n, v in plain.float().state_dict().items())
        with student_file(file) as same:
            assert same == file
    with student_file("no.pt") as same:
        assert same == "no.pt"


def test_verbs_take_the_student(unfinished, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["imgsz=64", "batch=4", "workers=0", "device=cpu"]
    images = tiny.parent / "images" / "val"
    trained = ["epochs=1", "plots=False", f"project={tmp_path}", "name=t"]
    for words in (
        ["strip", unfinished, tmp_path / "s.pt"],
        ["strip", unfinished, tmp_path / "s.onnx", "format=onnx", "imgsz=64", f"source={images}"],
        ["export", f"model={unfinished}", "format=torchscript", "imgsz=64", f"source={images}"],
        ["convert", unfinished, f"model={yaml_of(unfinished)}", tmp_path / "c.pt"],
        ["val", f"model={unfinished}", f"data={tiny}", f"project={tmp_path}", *small],
        [
            "attend",
            f"model={unfinished}",
            f"source={images}",
            "imgsz=64",
            "conf=0.0001",
            f"project={tmp_path}",
            "name=a",
        ],
        ["attend", f"model={unfinished}", f"data={tiny}", f"project={tmp_path}", "name=d", *small],
        ["train", f"model={yaml_of(unfinished)}", f"pretrained={unfinished}", f"data={tiny}", *trained, *small],
    ):
        assert cli.main(list(map(str, words))) == 0, capsys.readouterr().err
    assert "model.3.m.0.attn" in (tmp_path / "d" / "attention.json").read_text()
    assert list((tmp_path / "a").glob("*.png"))
    assert type(YOLO(tmp_path / "t" / "weights" / "last.pt").model).__name__ == "DetectionModel"


FAMILIES = (
    "yolo11n-diffattn", "yolo11n-diffattn-paired", "yolo11n-diffattn-token", "yolo12n-diffattn-paired",
    "yolo26n-diffattn-paired", "yolo11n-diffattn-seg", "yolo11n-diffattn-paired-pose", "yolo26n-diffattn-paired-obb",
)  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_learns_from_stock(name):
    """The loss towards the teacher's features reaches each parameter of attention that is behind none of the boxes."""
    stock = re.sub("-diffattn|-paired|-token", "", name)
    torch.manual_seed(0)
    teacher, student = (YOLO(f"{n}.yaml").model for n in (stock, name))
    student.args = get_cfg(overrides={"imgsz": 64, "dis": 6.0})
    model = distill_model.DistillationModel(teacher, student).train()
    model.teacher_model(image := torch.rand(2, 3, 64, 64))
    student(image)
    levels = range(len(model.feats_idx) - 1)
    features = [[model.decouple_outputs(f[i]) for i in levels] for f in (model._student_feats, model._teacher_feats)]
    ones = tuple(torch.ones_like(f[:, :1].flatten(2)) for f in features[1])
    pairs = enumerate(zip(*features, strict=True))
    sum(model.loss_sl2(model.projector[i](s), t, i, ones) for i, (s, t) in pairs).backward()
    attentions = [m for m in student.modules() if type(m).__module__.startswith("ultralytics_diffattn.nn")]
    assert attentions
    assert all(p.grad is not None and p.grad.isfinite().all() for m in attentions for p in m.parameters())
    assert not [n for n, p in teacher.named_parameters() if p.grad is not None]


def test_resume_goes_on_with_the_teacher(unfinished):
    """And the finished checkpoint holds the student alone."""
    last = unfinished.with_name("last.pt")
    out = forked(f"from ultralytics import YOLO; YOLO({str(last)!r}).train(resume=True)", cwd=last.parent).stdout
    assert "Resuming training DistillationModel" in out
    assert "from epoch 2 to 2 total epochs" in out
    with open(last.parents[1] / "results.csv", newline="") as file:
        assert [float(row["train/dis_loss"]) > 0 for row in csv.DictReader(file)] == [True, True]
    assert type(torch.load(last, weights_only=False)["model"]).__name__ == "DetectionModel"
