"""Objects as tables of printed columns, and as their metadata alone."""

from kobune.controlplane.apiserver.tables.custom import custom_printer
from kobune.controlplane.apiserver.tables.table import find_printer, partial, partial_list, render_table

__all__ = ("custom_printer", "find_printer", "partial", "partial_list", "render_table")
