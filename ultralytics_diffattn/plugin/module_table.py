# Ultralytics DiffAttn - AGPL-3.0 License
"""The table of our modules, the first entries of the registry."""

from __future__ import annotations

from ultralytics_diffattn.plugin.registry import MODULES, Row, add

__all__ = "MODULES", "Row"

# parse_model also notes at some of these classes that the heads of the model are not of the old design, but not at a
# twin of them: a YAML needs one stock C3k2 or A2C2f beside rows of ours, as all that are bundled have.
add("ultralytics_diffattn.nn.area:A2C2f_Diff", like="A2C2f")  # adding a module is one line here
add("ultralytics_diffattn.nn.aifi:AIFI_Diff", like="AIFI")
add("ultralytics_diffattn.nn.blocks:C2PSA_Diff", like="C2PSA")
add("ultralytics_diffattn.nn.blocks:C3k2_Diff", like="C3k2")
add("ultralytics_diffattn.nn.blocks:diff_attention_row", like="PSA", name="DiffAttention")
