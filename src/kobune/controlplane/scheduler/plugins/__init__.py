"""The plugins, one file per upstream plugin; `table.py` lists them all."""
