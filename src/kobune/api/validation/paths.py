"""Paths of files inside volumes and containers."""

from kobune.api.errors import Json
from kobune.api.field_errors import invalid, required
from kobune.api.validation.checks import Errors

FILE_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
HIGHEST_MODE = 0o777


def check_no_backsteps(path_value: str, path: str, errors: Errors) -> None:
    if ".." in path_value and ".." in path_value.split("/"):
        errors.append(invalid(path, path_value, "must not contain '..'"))


def check_descending(path_value: str, path: str, errors: Errors) -> None:
    """A relative path that stays inside."""
    if path_value.startswith("/"):
        errors.append(invalid(path, path_value, "must be a relative path"))
    check_no_backsteps(path_value, path, errors)


def check_file(path_value: str, path: str, errors: Errors) -> None:
    """The same for a file that is written: names that begin with two dots are kept for the writer's own use."""
    check_descending(path_value, path, errors)
    if path_value.startswith("..") and not path_value.startswith("../"):
        errors.append(invalid(path, path_value, "must not start with '..'"))


def check_mode(mode: int | None, path: str, errors: Errors) -> None:
    if mode is not None and not 0 <= mode <= HIGHEST_MODE:
        errors.append(invalid(path, mode, FILE_MODE))


def check_key_to_path(item: Json, path: str, errors: Errors) -> None:
    """A key of a ConfigMap or Secret and the file that it becomes."""
    if not item.get("key"):
        errors.append(required(f"{path}.key"))
    if not item.get("path"):
        errors.append(required(f"{path}.path"))
    check_file(item.get("path") or "", f"{path}.path", errors)
    check_mode(item.get("mode"), f"{path}.mode", errors)
