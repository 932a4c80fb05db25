# Ultralytics DiffAttn - AGPL-3.0 License
"""Reads one XML file in PASCAL VOC layout."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ultralytics_diffattn.data.annotations import Box, Issue, is_true, numbers, plain, size_of

# What an annotation without objects may consist of. Anything else that has parts may be objects in another shape.
KNOWN = {"folder", "filename", "path", "source", "owner", "size", "imagesize", "segmented"}


class XmlAnnotation(NamedTuple):
    """What an XML file says of its image.

    Attributes:
        filename (PurePosixPath): Of the image, with the folders that stand there; "." for none.
        size (tuple[float, float] | None): Width and height as annotated.
        boxes (list[Box]): The objects.
        issues (list[Issue]): What is wrong with others.
    """

    filename: PurePosixPath
    size: tuple[float, float] | None
    boxes: list[Box]
    issues: list[Issue]


def read(file: Path, name: str) -> XmlAnnotation:
    """Return what an XML file says of its image.

    Args:
        file (Path): The file.
        name (str): What it is called in messages.

    Returns:
        (XmlAnnotation): Tags are taken without namespace, in any case; `difficult` objects are left out.

    Raises:
        ValueError: If it cannot be read, or is of another shape.
    """
    root = _root(file)
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2].lower()
    _check_shape(root)
    filename = PurePosixPath((root.findtext("filename") or "").strip().replace("\\", "/"))
    boxes, issues = _boxes(name, root)
    return XmlAnnotation(filename, size_of(root.findtext("size/width"), root.findtext("size/height")), boxes, issues)


def _root(file: Path) -> ET.Element:
    """Return the root of an XML file."""
    if not file.is_file():
        raise ValueError("it is a broken link, or no file")  # such as a pipe, which one would wait for
    try:
        content = file.read_bytes()
        if b"<!ENTITY" in content.replace(b"\0", b""):  # in UTF-16, too; before expat 2.4.1 a few lines fill the memory
            raise ValueError("it declares entities, which no annotation needs")
        return ET.fromstring(content)
    except (ET.ParseError, LookupError, OSError) as error:  # LookupError: unknown encoding
        raise ValueError(str(error)) from None


def _check_shape(root: ET.Element) -> None:
    """Raise if objects may be written in a way that is not read here: without them an image would be background."""
    if count := len(root.findall("annotation")):
        raise ValueError(f"it holds {count} annotations: give each image a file of its own")
    if root.find("object") is not None:
        return
    if root.tag != "annotation":
        raise ValueError(f"its root is <{root.tag}> without any <object>: PASCAL VOC has <annotation>")
    unknown = [child.tag for child in root if len(child) and child.tag not in KNOWN]
    if unknown:
        raise ValueError(f"it has no <object>, but <{unknown[0]}>, which is not known")


def _boxes(file: str, root: ET.Element) -> tuple[list[Box], list[Issue]]:
    """Return the boxes of an XML file, and what is wrong with its other objects."""
    boxes: list[Box] = []
    issues: list[Issue] = []
    for i, element in enumerate(root.findall("object"), 1):
        name = plain(element.findtext("name") or "")
        item = f"object {i} {name}".strip()
        bndbox = element.find("bndbox")
        edges = [bndbox.findtext(k) for k in ("xmin", "ymin", "xmax", "ymax")] if bndbox is not None else None
        xyxy = numbers(edges, 4)
        if not name:
            issues.append(Issue(file, item, "empty name"))
        elif edges is None:
            issues.append(Issue(file, item, "no <bndbox>"))
        elif xyxy is None:
            issues.append(Issue(file, item, "<bndbox> is not four finite numbers"))
        elif is_true(element.findtext("difficult")):
            issues.append(Issue(file, item, "marked as difficult"))
        else:
            x1, y1, x2, y2 = xyxy
            boxes.append(Box(item, name, (x1, y1, x2, y2)))
    return boxes, issues
