# Ultralytics DiffAttn - AGPL-3.0 License
"""Reads data sets in PASCAL VOC layout, and in those of the tools that write its XML files.

`Annotations/` with `JPEGImages/` or `images/`, and the splits of ImageSets/Main/, if it exists; or XML files beside
their images, in one folder or in one for each split. `xmin, ymin, xmax, ymax` are taken as the edges of the box as they
are, as most annotation tools write them. (VOC's own files of 2007 and 2012 count pixels from 1; ultralytics' VOC.yaml
converts those.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ultralytics.data.utils import IMG_FORMATS
from ultralytics.utils import LOGGER, TQDM

from ultralytics_diffattn.data import splits, voc_images, voc_xml
from ultralytics_diffattn.data.annotations import AnnotatedImage, Annotations, Issue
from ultralytics_diffattn.errors import UserError

IMAGE_FOLDERS = "JPEGImages", "images"
LABEL = re.compile(r"(.+?)\s+-?[01]")  # a line of VOC's own lists of one class: the image, and whether it holds one


class Layout(NamedTuple):
    """Where the files of a data set are.

    Attributes:
        annotations (Path): Folder of the XML files; they may lie in folders below it.
        images (list[Path]): Folders of the images, likewise.
    """

    annotations: Path
    images: list[Path]


def is_voc(folder: Path) -> bool:
    """Return whether a folder is in PASCAL VOC layout: it has Annotations/*.xml, or XML files beside images."""
    return _layout(folder) is not None


def files(folder: Path) -> list[str]:
    """Return the files that a data set consists of: annotations, lists and images.

    Args:
        folder (Path): A folder for which `is_voc` is true.

    Returns:
        (list[str]): Paths; a change of one makes another data set.
    """
    layout = _layout(folder) or Layout(folder, [])
    paths = [
        *_xml_files(layout).values(),
        *_list_files(folder),
        *(f for fs in _image_files(layout).values() for f in fs),
    ]
    return [os.fspath(f) for f in paths]


def read(folder: Path, task: str = "detect") -> Annotations:
    """Return the annotations of a folder in PASCAL VOC layout.

    Args:
        folder (Path): A folder for which `is_voc` is true.
        task (str): `detect`; the layout has boxes only.

    Returns:
        (Annotations): Classes in the order of the alphabet, and what stands in the XML files; `difficult` objects are
            left out, as ultralytics does with those of VOC.

    Raises:
        UserError: If the task needs more than boxes, or there is a split and none to train on.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "Annotations").mkdir()
        >>> box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
        >>> text = f"<annotation><object><name>cat</name>{box}</object></annotation>"
        >>> _ = (folder / "Annotations" / "1.xml").write_text(text)
        >>> read(folder).names
        ['cat']
    """
    if task != "detect":
        raise UserError(f"{folder} is in PASCAL VOC layout, which has boxes only: use task=detect, not task={task}.")
    layout = _layout(folder) or Layout(folder, [])
    xml_files, image_files = _xml_files(layout), _image_files(layout)
    read_files: dict[str, voc_xml.XmlAnnotation] = {}
    issues: list[Issue] = []
    for key, file in TQDM(xml_files.items(), desc=f"Annotations of {folder.name}", disable=len(xml_files) < 1000):
        try:
            read_files[key] = voc_xml.read(file, _name(folder, file))
        except ValueError as error:
            issues.append(Issue(_name(folder, file), "", f"not readable as XML of PASCAL VOC: {error}"))
            continue
        issues += read_files[key].issues
    names = {key: _name(folder, xml_files[key]) for key in read_files}
    matches, match_issues = voc_images.match({k: a.filename for k, a in read_files.items()}, image_files, names)
    images = {
        key: AnnotatedImage(names[key], _image_name(key, a, matches[key]), matches[key], a.size, None, a.boxes)
        for key, a in read_files.items()
    }
    used = {path for path in matches.values() if path}
    alone = (paths for paths in image_files.values() if used.isdisjoint(paths))
    issues += match_issues
    issues += (
        Issue(f"{folder.name}/{path.relative_to(folder).as_posix()}", "", "image without an annotation file")
        for paths in alone
        for path in paths
    )
    split, split_issues = _split(folder, images)
    return Annotations(sorted({box.name for image in split for box in image.boxes}), split, issues + split_issues)


def _layout(folder: Path) -> Layout | None:
    """Return where the files of a data set are, None if it is in no layout that is known."""
    annotations = folder / "Annotations"
    if next(_below(annotations, {"xml"}), None) is not None:
        return Layout(annotations, [folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()])
    beside = folder, *(d for d in sorted(_folders(folder)) if splits.split_of(d.name))
    if any(_is_beside_images(d) for d in beside):
        return Layout(folder, [folder])
    return None


def _folders(folder: Path) -> Iterator[Path]:
    """Yield the folders in a folder."""
    if folder.is_dir():
        yield from (d for d in folder.iterdir() if d.is_dir())


def _is_beside_images(folder: Path) -> bool:
    """Return whether a folder has an XML file with an image of its name beside it."""
    names = [os.path.splitext(name) for name in os.listdir(folder)] if folder.is_dir() else []
    xml = {stem for stem, suffix in names if suffix.lower() == ".xml"}
    return any(stem in xml for stem, suffix in names if suffix[1:].lower() in IMG_FORMATS)


def _below(folder: Path, suffixes: Iterable[str]) -> Iterator[Path]:
    """Yield the files with one of the suffixes in a folder and in those below it, but not behind links to folders."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(names) if name.rpartition(".")[2].lower() in suffixes)


def _xml_files(layout: Layout) -> dict[str, Path]:
    """Return the annotation files by their path below their folder, without suffix."""
    return {_key(file, layout.annotations): file for file in _below(layout.annotations, {"xml"})}


def _image_files(layout: Layout) -> dict[str, list[Path]]:
    """Return the images by their path below their folder, without suffix."""
    files: dict[str, list[Path]] = {}
    for folder in layout.images:
        for file in _below(folder, IMG_FORMATS):
            files.setdefault(_key(file, folder), []).append(file)
    return files


def _key(file: Path, folder: Path) -> str:
    """Return the path of a file below a folder, without suffix."""
    return file.relative_to(folder).with_suffix("").as_posix()


def _name(folder: Path, file: Path) -> str:
    """Return an annotation file for a message."""
    return file.relative_to(folder).as_posix()


def _image_name(key: str, annotation: voc_xml.XmlAnnotation, path: Path | None) -> str:
    """Return what an image is called: its path below the folder of its kind, or as the annotation has it."""
    if path is None:
        return annotation.filename.name or key
    return f"{key}{path.suffix}" if path.stem == key.rpartition("/")[2] else path.name


def _list_files(folder: Path) -> list[Path]:
    """Return the lists of images of a folder."""
    return sorted((folder / "ImageSets" / "Main").glob("*.txt"))


def _split(folder: Path, images: Mapping[str, AnnotatedImage]) -> tuple[list[AnnotatedImage], list[Issue]]:
    """Return the images with the split of the lists that name them, or of their folder; as they are without either."""
    lists, issues = _read_lists(folder, images)
    source = f"{folder}, by the lists in ImageSets/Main,"
    listed = [images[key]._replace(split=split) for split, keys in lists.items() for key in keys]
    if listed:
        named = {key for keys in lists.values() for key in keys}
        issues += (Issue(i.file, "", "in no list of ImageSets/Main") for key, i in images.items() if key not in named)
    else:
        source = f"{folder}, by its folders,"
        listed = [image._replace(split=splits.split_of(key.partition("/")[0])) for key, image in images.items()]
        if any(image.split for image in listed):
            issues += (Issue(i.file, "", "in the folder of no split") for i in listed if not i.split)
            listed = [image for image in listed if image.split]
    resolved, split_issues = splits.resolve(listed, source)
    return resolved, issues + split_issues


def _read_lists(folder: Path, images: Mapping[str, AnnotatedImage]) -> tuple[dict[str, list[str]], list[Issue]]:
    """Return the keys of the images of each split in ImageSets/Main, and the lines that name none."""
    lists: dict[str, dict[str, None]] = {}
    issues: list[Issue] = []
    for file in _list_files(folder):
        split = splits.split_of(file.stem)
        if split is None:
            if not splits.split_of(file.stem.rpartition("_")[2]):  # cat_train.txt says which images hold cats
                LOGGER.warning(f"{file} is no list that is known ({', '.join(splits.SPELLINGS)}): it is not read.")
                issues.append(Issue(f"ImageSets/Main/{file.name}", "", "not the name of a split: not read"))
            continue
        keys = lists.setdefault(split, {})
        for line in dict.fromkeys(file.read_text(encoding="utf-8-sig", errors="replace").splitlines()):
            line = line.strip()
            if not line:
                continue
            key = next((k for k in _readings(line) if k in images), None)
            if key is None:
                issues.append(Issue(f"ImageSets/Main/{file.name}", line, "no readable annotation of that name"))
            else:
                keys[key] = None
    return {split: list(keys) for split, keys in lists.items()}, issues


def _readings(line: str) -> Iterator[str]:
    """Yield what a line of a list may name: as it is, without suffix, without its folder, without a label behind it."""
    label = LABEL.fullmatch(line)
    for text in (line, label[1] if label else line):
        path = text.replace("\\", "/").removeprefix("./")
        for folder in IMAGE_FOLDERS:
            path = path.rpartition(f"{folder}/")[2]
        yield from (path, os.path.splitext(path)[0])
        yield from (Path(path).name, Path(path).stem)
