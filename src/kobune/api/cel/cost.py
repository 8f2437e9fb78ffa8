"""What an expression can cost at most, in upstream's units, given how large its values can get.

Source: cel-go checker/cost.go.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from kobune.api.cel.cost_ranges import (
    FREE,
    LIST_BASE,
    MAP_BASE,
    NEITHER,
    ONE,
    STRUCT_BASE,
    TRAVERSAL,
    UNKNOWN,
    Call,
    Range,
)
from kobune.api.cel.function_costs import FUNCTIONS
from kobune.api.cel.sizes import Size
from kobune.api.cel.syntax import Node, Type
from kobune.api.cel.wording import OPTIONALS, RENAMED


class Entries(NamedTuple):
    """The sizes of what a list or a map that an expression makes holds."""

    is_list: bool
    key: Range
    value: Range


class Variable(NamedTuple):
    path: tuple[str, ...]
    size: Range | None
    entries: Entries | None = None


_SCALARS = frozenset({"bool", "int", "uint", "double", "timestamp", "duration"})
_COMPARED = frozenset(
    f"{order}_{kind}" for order in ("less", "less_equals", "greater", "greater_equals") for kind in ("string", "bytes")
) | {"equals", "not_equals"}
_ALWAYS_ONE = frozenset(
    {
        "serviceAccount", "path", "group", "resource", "subresource", "namespace", "name", "allowed", "reason", "error",
        "errored", "masked", "prefixLength", "family", "isUnspecified", "isLoopback", "isLinkLocalMulticast",
        "isLinkLocalUnicast", "isGlobalUnicast", "format.named", "sign", "asInteger", "isInteger", "asApproximateFloat",
        "isGreaterThan", "isLessThan", "compareTo", "add", "sub", "major", "minor", "patch", "getScheme", "getHostname",
        "getHost", "getPort", "getEscapedPath", "getQuery",
    }
)  # fmt: skip
_READ_ONCE = frozenset({"cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"})
_ONE_COST_WHEN_EQUAL = frozenset({"net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver"})
_WRITTEN = {ours: given for names in (RENAMED, OPTIONALS) for given, ours in names.items()}


def cost_of(tree: Node, sizes: Size | None) -> Range:
    """What evaluating an expression can cost.

    Args:
        sizes: of the variables, which are all alike: `self` and `oldSelf`.
    """
    return _Coster(sizes).cost(tree)


class _Coster:
    def __init__(self, sizes: Size | None) -> None:
        self._root = sizes
        self._paths: dict[int, tuple[str, ...]] = {}
        self._sizes: dict[int, Range] = {}
        self._entries: dict[int, Entries] = {}
        self._variables: dict[str, list[Variable]] = {}

    def cost(self, node: Node) -> Range:
        return _KINDS[node.kind](self, node)

    # Expressions

    def _ident(self, node: Node) -> Range:
        variable = self._variable(node)
        self._paths[node.id] = variable.path if variable is not None else (node.name,)
        return ONE

    def _select(self, node: Node) -> Range:
        target = node.target
        assert target is not None
        cost = self.cost(target)
        if node.is_test:
            return cost
        if target.type.name == "map" or "." in target.type.name:
            cost = cost.plus(ONE)
        self._paths[node.id] = (*self._path(target), node.name)
        return cost

    def _list(self, node: Node) -> Range:
        cost, inside = Range(LIST_BASE, LIST_BASE), NEITHER if node.parts else FREE
        for part in node.parts:
            cost = cost.plus(self.cost(part))
            inside = inside.or_(self.size(part) or UNKNOWN)
        self._entries[node.id] = Entries(True, ONE, inside)
        return cost

    def _map(self, node: Node) -> Range:
        cost = Range(MAP_BASE, MAP_BASE)
        inside = [NEITHER, NEITHER] if node.parts else [FREE, FREE]
        for position, part in enumerate(node.parts):
            cost = cost.plus(self.cost(part))
            inside[position % 2] = inside[position % 2].or_(self.size(part) or UNKNOWN)
        self._entries[node.id] = Entries(False, *inside)
        return cost

    def _struct(self, node: Node) -> Range:
        cost = Range(STRUCT_BASE, STRUCT_BASE)
        for part in node.parts:
            cost = cost.plus(self.cost(part))
        return cost

    def _fold(self, node: Node) -> Range:
        over, beginning, condition, step, result = node.parts
        cost = self.cost(over).plus(self.cost(beginning))
        is_binding = over.kind == "list" and not over.parts and condition.value is False and not _collects(node.name)
        self._push(node.name, Variable(self._path(beginning), self.size(beginning), self._held(beginning)))
        if is_binding:
            cost = cost.plus(self.cost(result))
            self._variables[node.name].pop()
            self._copy(node, result)
            return cost
        self._push_elements(node, over)
        each = self.cost(condition).plus(self.cost(step))
        for name in node.variables:
            self._variables[name].pop()
        cost = cost.plus(self.cost(result))
        self._variables[node.name].pop()
        count = self.size(over) or UNKNOWN
        if beginning.kind == "literal":
            self._set_size(node, self.size(beginning))
        elif beginning.kind in ("list", "map"):
            self._sizes[node.id] = count
            if held := self._held(step):
                self._entries[node.id] = held
        return cost.plus(count.times(each))

    def _call(self, node: Node) -> Range:
        name = _WRITTEN.get(node.name, node.name)
        if name == "dyn":
            cost = ONE.plus(self.cost(node.parts[0]))
            self._copy(node, node.parts[0])
            return cost
        if name == "first" and node.target is not None and node.target.name in OPTIONALS.values():
            return self.cost(node.target)  # Of an optional, which only here is a list.
        costs = [self.cost(part) for part in node.parts]
        if not node.overloads:
            return FREE
        cost = self.cost(node.target) if node.target is not None else FREE
        total, size = NEITHER, None
        for overload in node.overloads:
            call = self._overload(node, name, overload, costs)
            total = total.or_(call.cost)
            if call.size is not None:
                size = call.size if size is None else size.or_(call.size)
            if overload in ("index_list", "index_map"):
                held = self._held(node.parts[0])
                size = held.value if held else None
                below = "@items" if overload == "index_list" else "@values"
                self._paths[node.id] = (*self._path(node.parts[0]), below)
            if size is None:
                size = self.size(node)
        self._set_size(node, size)
        return cost.plus(total)

    def _overload(self, node: Node, name: str, overload: str, costs: Sequence[Range]) -> Call:
        if overload in ("logical_or", "logical_and"):
            return Call(Range(costs[0].least, costs[0].plus(costs[1]).most))
        if overload == "conditional":
            return self._conditional(node, costs)
        arguments = FREE
        for one in costs:
            arguments = arguments.plus(one)
        special = FUNCTIONS.get(name)
        call = special(self, node) if special is not None else self._standard(node, name, overload)
        if call is None:
            call = Call(ONE)
        return call._replace(cost=call.cost.plus(arguments))

    def _standard(self, node: Node, name: str, overload: str) -> Call | None:
        if name in _ALWAYS_ONE:
            return Call(ONE)
        if name in _READ_ONCE and node.parts:
            return Call(self.known(node.parts[0]).by(TRAVERSAL))
        if overload in ("add_string", "add_bytes", "add_list"):
            return self._sum(node, overload)
        if overload in _COMPARED:
            first, second = (self.known(part) for part in node.parts)
            types = {part.type for part in node.parts}
            if len(types) == 1 and next(iter(types)).name in _ONE_COST_WHEN_EQUAL and name == "_==_":
                return Call(ONE)
            smaller = min(first.most, second.most)
            return Call(Range(1 if smaller else 0, smaller).by(TRAVERSAL))
        if overload == "in_list":
            return Call(self.known(node.parts[1]))
        return None

    def _conditional(self, node: Node, costs: Sequence[Range]) -> Call:
        _, first, second = node.parts
        if (one := self._held(first)) and (other := self._held(second)):
            self._entries[node.id] = Entries(one.is_list, one.key.or_(other.key), one.value.or_(other.value))
        size = self.known(first).or_(self.known(second))
        return Call(costs[0].plus(costs[1].or_(costs[2])), size)

    def _sum(self, node: Node, overload: str) -> Call:
        first, second = node.parts
        size = self.known(first).plus(self.known(second))
        if (one := self._held(first)) and (other := self._held(second)):
            self._entries[node.id] = Entries(one.is_list, one.key.or_(other.key), one.value.or_(other.value))
        return Call(ONE if overload == "add_list" else size.by(TRAVERSAL), size)

    # Sizes

    def known(self, node: Node) -> Range:
        """The size of a value, anything if nothing is known."""
        return self.size(node) or UNKNOWN

    def size(self, node: Node) -> Range | None:
        """The size of a value, as far as known."""
        if node.id in self._sizes:
            return self._sizes[node.id]
        written = _written_size(node)
        if written is not None:
            return written
        if (estimated := self.size_at(self._path(node))) is not None:
            self._sizes[node.id] = estimated
            return estimated
        if _is_scalar(node.type):
            return ONE
        variable = self._variable(node)
        return variable.size if variable is not None else None

    def size_at(self, path: tuple[str, ...]) -> Range | None:
        if not path or self._root is None:
            return None
        found = self._root.at(path[1:])
        return Range(found.fewest, found.most) if found is not None else None

    def element_cost(self, node: Node) -> Range:
        """What it costs to look at one element of a list."""
        if node.type.of and node.type.of[0].name in ("string", "bytes"):
            return ONE.plus(self.element_size(node).by(TRAVERSAL))
        return ONE

    def element_size(self, node: Node) -> Range:
        path = self._path(node)
        return (self.size_at((*path, "@items")) if path else None) or UNKNOWN

    def _path(self, node: Node) -> tuple[str, ...]:
        variable = self._variable(node)
        return variable.path if variable is not None else self._paths.get(node.id, ())

    def _held(self, node: Node) -> Entries | None:
        if node.id in self._entries:
            return self._entries[node.id]
        variable = self._variable(node)
        return variable.entries if variable is not None else None

    def _variable(self, node: Node) -> Variable | None:
        if node.kind != "ident":
            return None
        known = self._variables.get(node.name)
        return known[-1] if known else None

    def _push(self, name: str, variable: Variable) -> None:
        self._variables.setdefault(name, []).append(variable)

    def _push_elements(self, node: Node, over: Node) -> None:
        held, path = self._held(over), self._path(over)
        is_list = held.is_list if held is not None else over.type.name == "list" or self._is_list_at(over, path)
        keys = Variable((*path, "@indices" if is_list and len(node.variables) > 1 else "@keys"), held and held.key)
        values = Variable((*path, "@items" if is_list else "@values"), held and held.value)
        if len(node.variables) > 1:
            self._push(node.variables[0], keys)
            self._push(node.variables[1], values)
        else:
            self._push(node.variables[0], values if is_list else keys)

    def _is_list_at(self, node: Node, path: tuple[str, ...]) -> bool:
        """Whether what may be of any type as far as the expression goes is a list as far as sizes go."""
        found = self._root.at(path[1:]) if node.type.name == "dyn" and path and self._root is not None else None
        return found is not None and found.below is not None and not found.is_map

    def _set_size(self, node: Node, size: Range | None) -> None:
        if size is not None:
            self._sizes[node.id] = size

    def _copy(self, node: Node, source: Node) -> None:
        self._set_size(node, self.size(source))
        if held := self._held(source):
            self._entries[node.id] = held


_KINDS: Mapping[str, Callable[[_Coster, Node], Range]] = {
    "literal": lambda _coster, _node: FREE,
    "ident": _Coster._ident,
    "select": _Coster._select,
    "call": _Coster._call,
    "list": _Coster._list,
    "map": _Coster._map,
    "struct": _Coster._struct,
    "fold": _Coster._fold,
}


def _collects(name: str) -> bool:
    """Whether a variable is what a fold of the language collects in, not one that is bound."""
    return name in ("@result", "__result__")


def _written_size(node: Node) -> Range | None:
    match node.kind:
        case "literal":
            size = len(node.value) if isinstance(node.value, str | bytes) else 1
        case "list":
            size = len(node.parts)
        case "map":
            size = len(node.parts) // 2
        case _:
            return None
    return Range(size, size)


def _is_scalar(kind: Type) -> bool:
    return kind.name in _SCALARS or (kind.name == "optional_type" and bool(kind.of) and _is_scalar(kind.of[0]))
