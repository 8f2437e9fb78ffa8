"""`python -m kobune` is the `kobune` command."""

from kobune.cli.main import main

main()
