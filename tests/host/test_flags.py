"""A component's flags fill a dataclass."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kobune.host.flags import flag, parse


@dataclass(frozen=True, slots=True)
class Inner:
    etcd_servers: Sequence[str] = flag((), "Where.")


@dataclass(frozen=True, slots=True)
class Flags:
    secure_port: int = flag(6443, "The port.")
    name: str = flag("", "A name.")
    modes: Sequence[str] = flag(("Node", "RBAC"), "Modes.")
    ca_file: Path | None = flag(None, "An authority.")
    key_file: Sequence[Path] = flag((), "Keys.")
    directory: Path = flag(Path("/var"), "A place.")
    inner: Inner = field(default_factory=Inner)


def read(*arguments):
    return parse(Flags, arguments, program="test", description="A test.")


def test_what_is_not_given_keeps_its_default():
    assert read() == Flags()


def test_each_flag_is_read_as_what_its_field_holds():
    given = read(
        "--secure-port", "1", "--name=n", "--modes", "A, B", "--ca-file", "ca", "--key-file", "a", "--key-file", "b",
        "--directory", "/tmp", "--etcd-servers", "x,y", "--etcd-servers=z",
    )  # fmt: skip
    assert given == Flags(1, "n", ["A", "B"], Path("ca"), [Path("a"), Path("b")], Path("/tmp"), Inner(["x", "y", "z"]))


@pytest.mark.parametrize("arguments", [("--secure-port", "x"), ("--unknown",), ("--secure", "1"), ("--name",), ("x",)])
def test_a_mistake_ends_the_process_with_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        read(*arguments)
    assert ended.value.code == 2
    assert "usage: test" in capsys.readouterr().err


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit):
        read("--help")
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("--secure-port NUMBER", "--etcd-servers", "Default: 6443", "A test."))
