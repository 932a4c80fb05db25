# Ultralytics DiffAttn - AGPL-3.0 License
"""Differential attention for Ultralytics YOLO, as a plugin: the stock `yolo` command and API understand it.

This file runs at every start of the interpreter (by ultralytics_diffattn.pth), so it imports neither torch nor
ultralytics: the public names are loaded when they are first asked for.
"""

from ultralytics_diffattn.autoload import install

_EXPORTS = {
    "__version__": "version",
    "DiffAttention": "nn.attention",
    "diff_attention": "nn.functional",
    "lambda_init_schedule": "nn.lambdas",
    "CLIP": "clip.model",
    "DiffCLIP": "clip.model",
    "AIFI_Diff": "nn.aifi",
    "A2C2f_Diff": "nn.area",
    "AAttn_Diff": "nn.area",
    "Attention_Diff": "nn.blocks",
    "C2PSA_Diff": "nn.blocks",
    "C3k2_Diff": "nn.blocks",
    "PSABlock_Diff": "nn.blocks",
    "attention_maps": "maps.attention_maps",
    "PairedAttention_Diff": "nn.paired",
    "register": "plugin.register",
}
__all__ = tuple(_EXPORTS)

TYPE_CHECKING = False  # type checkers take it for true by its name; importing typing would slow every start
if TYPE_CHECKING:
    from ultralytics_diffattn.clip.model import CLIP, DiffCLIP  # noqa: F401
    from ultralytics_diffattn.maps.attention_maps import attention_maps  # noqa: F401
    from ultralytics_diffattn.nn.aifi import AIFI_Diff  # noqa: F401
    from ultralytics_diffattn.nn.area import A2C2f_Diff, AAttn_Diff  # noqa: F401
    from ultralytics_diffattn.nn.attention import DiffAttention  # noqa: F401
    from ultralytics_diffattn.nn.blocks import Attention_Diff, C2PSA_Diff, C3k2_Diff, PSABlock_Diff  # noqa: F401
    from ultralytics_diffattn.nn.functional import diff_attention  # noqa: F401
    from ultralytics_diffattn.nn.lambdas import lambda_init_schedule  # noqa: F401
    from ultralytics_diffattn.nn.paired import PairedAttention_Diff  # noqa: F401
    from ultralytics_diffattn.plugin.register import register  # noqa: F401
    from ultralytics_diffattn.version import __version__  # noqa: F401


def __getattr__(name: str) -> object:
    """Return a public name from the module that defines it."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)


install()
