# Ultralytics DiffAttn - AGPL-3.0 License
"""The hook that makes stock ultralytics know this package: standard library only, and silent whatever happens.

`ultralytics_diffattn.pth` (and from Python 3.15 `ultralytics_diffattn.start`) imports it in every interpreter, so also
in the `yolo` command, in DataLoader workers and in the processes of a multi-GPU training. It does one thing: it waits
for ultralytics to import the modules below, and then lets `plugin.attach.attach` add our names to them. A
second finder, the last of all, finds the files with modules of their own that users have made known.
"""

import os
import sys

TYPE_CHECKING = False  # type checkers take it for true by its name; these imports would slow every start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

WATCHED = (  # plugin/attach.py adds to each of them
    "ultralytics.nn.tasks",
    "ultralytics.data.utils",
    "ultralytics.models.yolo.world.train",
    "ultralytics.models.yolo.yoloe.train",
)

# Modules of unreleased versions that checkpoints may name. ultralytics would pip-install the name of a missing
# module; the finder below raises another error first.
MOVED = "aifi", "area", "attention", "blocks", "paired"


def install() -> None:
    """Watch for ultralytics' modules, and attach to those that are loaded already.

    `DIFFATTN_AUTOLOAD=0` in the environment makes it do nothing; `register()` then registers by hand.
    """
    if os.environ.get("DIFFATTN_AUTOLOAD", "").strip().lower() in {"0", "false", "off", "no"}:
        return
    if Watcher not in sys.meta_path:
        sys.meta_path.insert(0, Watcher)
        sys.meta_path.append(UserFiles)
    Watcher.pending.update(WATCHED)
    for module in _loaded():
        _attach(module)


def _loaded() -> "list[ModuleType]":
    """Return the modules that are loaded and not attached to; the others are being imported, or will be."""
    modules = [sys.modules.get(name) for name in tuple(Watcher.pending)]
    specs = [getattr(module, "__spec__", None) for module in modules]
    pairs = zip(modules, specs)  # noqa: B905 - of one length
    return [m for m, spec in pairs if m and spec and not getattr(spec, "_initializing", False)]


def _attach(module: "ModuleType") -> None:
    """Attach to one loaded module; an error here must not reach a program that may not use this package at all."""
    Watcher.pending.discard(module.__name__)
    try:
        from ultralytics_diffattn.plugin.attach import attach

        attach(module)
    except Exception:  # what fails later, when such a model is built, says why
        pass


class Watcher:
    """A finder that finds nothing by itself: it adds a step behind the execution of the watched modules."""

    pending: "set[str]" = set()  # noqa: RUF012 - names of watched modules that are not attached to
    searching: "set[str]" = set()  # noqa: RUF012 - names; a module's import lock keeps other threads from the same one

    @classmethod
    def find_spec(
        cls, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """Return the other finders' spec for a watched module, its loader wrapped; else None.

        An import of a watched module that began before this class was installed has bypassed it: the import of the next
        module of ultralytics attaches to it. Attaching here would hold the lock on all imports.
        """
        package, _, module = name.partition(".")
        if package == "ultralytics_diffattn" and module in MOVED:
            raise ImportError(
                f"{name} is of an unreleased version of ultralytics-diffattn: if a checkpoint names it, convert the "
                "checkpoint as docs/troubleshooting.md shows under 'A checkpoint of an unreleased version'."
            )
        late = name.startswith("ultralytics.") and _loaded()
        if not (name in WATCHED or late) or name in cls.searching:  # the latter: another's finder asks all, too
            return None
        cls.searching.add(name)
        try:
            for finder in sys.meta_path:
                find_spec = getattr(finder, "find_spec", None)
                spec = find_spec(name, path, target) if finder is not cls and find_spec else None
                if spec is not None:
                    if hasattr(spec.loader, "exec_module"):
                        spec.loader = Loader(spec.loader)
                    wrapped: ModuleSpec = spec
                    return wrapped
            return None
        finally:
            cls.searching.discard(name)


class Loader:
    """A module's original loader, followed by `_attach`."""

    def __init__(self, loader: "Any") -> None:
        """Store the module's original loader."""
        self.loader = loader

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        """Create the module as its original loader does."""
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: "ModuleType") -> None:
        """Restore the module's original loader, execute the module, attach to it."""
        spec = module.__spec__
        if spec is not None:
            spec.loader = self.loader
        module.__loader__ = self.loader
        self.loader.exec_module(module)
        for each in (*([module] if module.__name__ in WATCHED else ()), *_loaded()):
            _attach(each)

    def __getattr__(self, name: str) -> "Any":
        """Return any other attribute, such as `get_source`, of the original loader."""
        return getattr(self.loader, name)


class UserFiles:
    """The last finder, for files that a user has made known: `plugin/user_files.py` says which, and finds them."""

    @classmethod
    def find_spec(
        cls, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """Return the spec of a known file, if nobody else has found a module of that name; else None."""
        try:
            if path is not None or "." in name or not any(name in text for text in _places()):
                return None
            from ultralytics_diffattn.plugin.user_files import Finder

            return Finder.find_spec(name)
        except Exception:  # a broken record must not reach a program that may not use this package at all
            return None


def _places() -> "list[str]":
    """Return the texts in which the name of a known file stands."""
    texts = [os.environ.get(name, "") for name in ("DIFFATTN_MODULES", "DIFFATTN_REGISTERED")]
    try:
        with open(os.path.join(sys.prefix, "share", "ultralytics-diffattn", "modules.json"), encoding="utf-8") as file:
            return [*texts, file.read()]
    except OSError:
        return texts
