"""What is served is what is documented."""

from pathlib import Path

from kobune.aks.arm.documentation import features_table, operations_table

AZURE = Path(__file__).parents[3] / "docs" / "azure.md"


def test_the_tables_of_operations_and_features_are_in_the_docs():
    """`python -m kobune.aks.arm.documentation` prints them."""
    text = AZURE.read_text()
    for table in (operations_table(), features_table()):
        missing = [line for line in table.splitlines() if line not in text]
        assert not missing
