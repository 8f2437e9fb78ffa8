"""The part of the Kusto query language that looks into logs: parsed, checked against the tables, and made into SQL.

`Table | where … | extend … | project … | summarize count() by … | order by … | take n`, also `top`, `distinct` and `count`.
Each stage becomes a SELECT around the one before; what the user wrote reaches SQLite as parameters only.
Source: the Kusto query language's reference.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MOST_STAGES = 30
MOST_DEPTH = 50  # Of parentheses.
MOST_ROWS = 30_000  # Of an answer, as Log Analytics has it.

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<timespan>\d+(?:\.\d+)?(?:d|h|m|ms|s)\b) |
    (?P<number>\d+(?:\.\d+)?) |
    (?P<string>@?"(?:[^"\\]|\\.)*"|@?'(?:[^'\\]|\\.)*') |
    (?P<name>[A-Za-z_][A-Za-z0-9_]*) |
    (?P<sign>==|!=|=~|!~|<=|>=|<|>|!contains_cs|!contains|!has|!startswith|!endswith|!in|[|(),.=+\-*/\[\]])
    )""",
    re.VERBOSE,
)
_COMMENT = re.compile(r"//[^\n]*")
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_TEXT_OPERATORS = ("contains", "contains_cs", "has", "startswith", "endswith")
_AGGREGATES = {"count": "long", "dcount": "long", "sum": "real", "avg": "real", "min": "", "max": "", "countif": "long"}


class KqlError(Exception):
    """The query is not understood; the message says what of it."""


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str  # "string", "datetime", "long", "real", "bool" or "dynamic".


@dataclass(frozen=True, slots=True)
class Query:
    """A query as SQLite takes it."""

    sql: str
    parameters: tuple[object, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class _Expression:
    sql: str
    parameters: tuple[object, ...]
    type: str
    name: str = ""  # What a column of it is called when nobody says.


def compile_query(text: str, tables: Mapping[str, Sequence[Column]], now: datetime) -> Query:
    """The SQL for a query. Times are stored and answered as `render_time` writes them.

    Raises:
        KqlError: syntax, an unknown table, column or function.
    """
    return _Compiler(_tokens(_COMMENT.sub("", text)), tables, now).query()


def render_time(time: datetime) -> str:
    """A time in the one form whose order as text is the order in time."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def has_term(text: object, term: str) -> bool:
    """KQL's `has`: the term stands in the text as a whole word, whatever the case."""
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(term)}(?![A-Za-z0-9])", str(text or ""), re.IGNORECASE) is not None


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if not found or found.lastgroup is None:
            raise KqlError(f"Query could not be parsed at '{text[at:].strip()[:20]}'")
        tokens.append(_Token(found.lastgroup, found[found.lastgroup]))
        at = found.end()
    return tokens


class _Compiler:
    """Recursive descent over the tokens; the columns of the stage before are the names that are known."""

    def __init__(self, tokens: list[_Token], tables: Mapping[str, Sequence[Column]], now: datetime) -> None:
        self._tokens = tokens
        self._tables = tables
        self._now = now
        self._at = 0
        self._depth = 0
        self._columns: tuple[Column, ...] = ()

    def query(self) -> Query:
        name = self._name("a table")
        table = next((known for known in self._tables if known == name), None)
        if table is None:
            raise KqlError(f"Failed to resolve table '{name}'; there are {', '.join(self._tables)}")
        self._columns = tuple(self._tables[table])
        listed = ", ".join(_quoted(column.name) for column in self._columns)
        sql = f"SELECT {listed} FROM {_quoted(table)}"
        parameters: tuple[object, ...] = ()
        stages = 0
        while self._take("|"):
            stages += 1
            if stages > MOST_STAGES:
                raise KqlError(f"more than {MOST_STAGES} stages")
            sql, parameters = self._stage(sql, parameters)
        if self._at < len(self._tokens):
            raise KqlError(f"Unexpected '{self._tokens[self._at].text}'")
        return Query(f"SELECT * FROM ({sql}) LIMIT {MOST_ROWS}", parameters, self._columns)

    def _stage(self, inner: str, parameters: tuple[object, ...]) -> tuple[str, tuple[object, ...]]:
        stage = self._name("an operator")
        if stage == "where":
            condition = self._expression()
            return f"SELECT * FROM ({inner}) WHERE {condition.sql}", (*parameters, *condition.parameters)
        if stage in ("take", "limit"):
            return f"SELECT * FROM ({inner}) LIMIT {self._count()}", parameters
        if stage == "count":
            self._columns = (Column("Count", "long"),)
            return f'SELECT count(*) AS "Count" FROM ({inner})', parameters
        if stage == "project":
            return self._select(inner, parameters, self._named_list(), keep=False)
        if stage == "extend":
            return self._select(inner, parameters, self._named_list(), keep=True)
        if stage == "distinct":
            chosen, more = self._select(inner, parameters, self._named_list(), keep=False)
            return chosen.replace("SELECT", "SELECT DISTINCT", 1), more
        if stage == "summarize":
            return self._summarize(inner, parameters)
        if stage in ("order", "sort"):
            self._expect("by")
            order, more = self._order()
            return f"SELECT * FROM ({inner}) ORDER BY {order}", (*parameters, *more)
        if stage == "top":
            count = self._count()
            self._expect("by")
            order, more = self._order()
            return f"SELECT * FROM ({inner}) ORDER BY {order} LIMIT {count}", (*parameters, *more)
        raise KqlError(f"The operator '{stage}' is not supported")

    def _select(
        self, inner: str, parameters: tuple[object, ...], chosen: list[_Expression], *, keep: bool
    ) -> tuple[str, tuple[object, ...]]:
        parts = (
            [_Expression(_quoted(known.name), (), known.type, known.name) for known in self._columns] if keep else []
        )
        for part in chosen:
            at = next((index for index, known in enumerate(parts) if known.name == part.name), None)
            if at is None:
                parts.append(part)
            else:
                parts[at] = part
        self._columns = tuple(Column(part.name, part.type) for part in parts)
        listed = ", ".join(f"{part.sql} AS {_quoted(part.name)}" for part in parts)
        more = tuple(value for part in parts for value in part.parameters)
        return f"SELECT {listed} FROM ({inner})", (*more, *parameters)

    def _summarize(self, inner: str, parameters: tuple[object, ...]) -> tuple[str, tuple[object, ...]]:
        values = [] if self._peek("by") else self._named_list(aggregates=True)
        groups = self._named_list() if self._take("by") else []
        chosen = [*groups, *values]
        if not chosen:
            raise KqlError("summarize of nothing")
        listed = ", ".join(f"{part.sql} AS {_quoted(part.name)}" for part in chosen)
        more = tuple(value for part in chosen for value in part.parameters)
        by = f" GROUP BY {', '.join(str(index + 1) for index in range(len(groups)))}" if groups else ""
        self._columns = tuple(Column(part.name, part.type) for part in chosen)
        return f"SELECT {listed} FROM ({inner}){by}", (*more, *parameters)

    def _order(self) -> tuple[str, tuple[object, ...]]:
        parts: list[str] = []
        parameters: tuple[object, ...] = ()
        while True:
            expression = self._expression()
            direction = "DESC"  # KQL's own choice.
            if self._take("asc"):
                direction = "ASC"
            else:
                self._take("desc")
            parts.append(f"{expression.sql} {direction}")
            parameters = (*parameters, *expression.parameters)
            if not self._take(","):
                return ", ".join(parts), parameters

    def _named_list(self, *, aggregates: bool = False) -> list[_Expression]:
        found: list[_Expression] = []
        while True:
            name = ""
            if self._ahead(1) == "=" and self._tokens[self._at].kind == "name":
                name = self._name("a name")
                self._expect("=")
            expression = self._aggregate() if aggregates else self._expression()
            shown = name or expression.name or f"Column{len(found) + 1}"
            found.append(_Expression(expression.sql, expression.parameters, expression.type, shown))
            if not self._take(","):
                return found

    def _aggregate(self) -> _Expression:
        function = self._name("an aggregate")
        if function not in _AGGREGATES:
            raise KqlError(f"The aggregate '{function}' is not supported; there are {', '.join(_AGGREGATES)}")
        self._expect("(")
        argument = None if self._peek(")") else self._expression()
        self._expect(")")
        if function == "count":
            return _Expression("count(*)", (), "long", "count_")
        if argument is None:
            raise KqlError(f"{function}() needs an argument")
        name = f"{function}_{argument.name}"
        if function == "dcount":
            return _Expression(f"count(DISTINCT {argument.sql})", argument.parameters, "long", name)
        if function == "countif":
            return _Expression(f"coalesce(sum({argument.sql}), 0)", argument.parameters, "long", "countif_")
        return _Expression(
            f"{function}({argument.sql})", argument.parameters, _AGGREGATES[function] or argument.type, name
        )

    def _expression(self) -> _Expression:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise KqlError("The query is nested too deep")
        left = self._conjunction()
        while self._take("or"):
            left = _joined(left, "OR", self._conjunction(), "bool")
        self._depth -= 1
        return left

    def _conjunction(self) -> _Expression:
        left = self._comparison()
        while self._take("and"):
            left = _joined(left, "AND", self._comparison(), "bool")
        return left

    def _comparison(self) -> _Expression:
        left = self._sum()
        for sign, sql in (("==", "="), ("!=", "<>"), ("<=", "<="), (">=", ">="), ("<", "<"), (">", ">")):
            if self._take(sign):
                return _joined(left, sql, self._sum(), "bool")
        for sign, sql in (("=~", "="), ("!~", "<>")):
            if self._take(sign):
                right = self._sum()
                return _Expression(
                    f"(lower({left.sql}) {sql} lower({right.sql}))", (*left.parameters, *right.parameters), "bool"
                )
        for operator in _TEXT_OPERATORS:
            if self._take(operator):
                return self._text(left, operator)
            if self._take(f"!{operator}"):
                found = self._text(left, operator)
                return _Expression(f"(NOT {found.sql})", found.parameters, "bool")
        negated = self._take("!in")
        if negated or self._take("in"):
            return self._in(left, negated=negated)
        if self._take("between"):
            self._expect("(")
            low = self._sum()
            self._expect(".")
            self._expect(".")
            high = self._sum()
            self._expect(")")
            return _Expression(
                f"({left.sql} BETWEEN {low.sql} AND {high.sql})",
                (*left.parameters, *low.parameters, *high.parameters),
                "bool",
            )
        return left

    def _text(self, left: _Expression, operator: str) -> _Expression:
        right = self._sum()
        values = (*left.parameters, *right.parameters)
        text, wanted = f"coalesce({left.sql}, '')", right.sql
        forms = {
            "contains": f"(instr(lower({text}), lower({wanted})) > 0)",
            "contains_cs": f"(instr({text}, {wanted}) > 0)",
            "has": f"kql_has({text}, {wanted})",
        }
        if operator in forms:
            return _Expression(forms[operator], values, "bool")
        if operator == "startswith":
            again = (*values, *right.parameters)
            return _Expression(f"(lower(substr({text}, 1, length({wanted}))) = lower({wanted}))", again, "bool")
        again = (*values, *right.parameters, *right.parameters)
        return _Expression(
            f"(lower(substr({text}, -length({wanted}))) = lower({wanted}) AND length({wanted}) > 0)", again, "bool"
        )

    def _in(self, left: _Expression, *, negated: bool) -> _Expression:
        self._expect("(")
        choices = [self._sum()]
        while self._take(","):
            choices.append(self._sum())
        self._expect(")")
        values = tuple(value for choice in choices for value in choice.parameters)
        listed = ", ".join(choice.sql for choice in choices)
        return _Expression(f"({left.sql} {'NOT ' * negated}IN ({listed}))", (*left.parameters, *values), "bool")

    def _sum(self) -> _Expression:
        left = self._product()
        while self._peek("+") or self._peek("-"):
            sign = self._tokens[self._at].text
            self._at += 1
            left = self._shifted(left, sign, self._product())
        return left

    def _shifted(self, left: _Expression, sign: str, right: _Expression) -> _Expression:
        """Sums of numbers, and times moved by a timespan."""
        if left.type == "datetime" and right.type == "timespan":
            moved = f"strftime('%Y-%m-%dT%H:%M:%f000Z', {left.sql}, ({right.sql} * {sign}1) || ' seconds')"
            return _Expression(moved, (*left.parameters, *right.parameters), "datetime")
        return _joined(left, sign, right, left.type)

    def _product(self) -> _Expression:
        left = self._primary()
        while self._peek("*") or self._peek("/"):
            sign = self._tokens[self._at].text
            self._at += 1
            left = _joined(left, sign, self._primary(), "real" if sign == "/" else left.type)
        return left

    def _primary(self) -> _Expression:
        token = self._next("an expression")
        if token.text == "(":
            inner = self._expression()
            self._expect(")")
            return inner
        if token.text == "-":
            inner = self._primary()
            return _Expression(f"(-{inner.sql})", inner.parameters, inner.type)
        if token.kind == "string":
            return _Expression("?", (_unquoted(token.text),), "string")
        if token.kind == "number":
            whole = "." not in token.text
            return _Expression("?", (int(token.text) if whole else float(token.text),), "long" if whole else "real")
        if token.kind == "timespan":
            return _Expression("?", (_seconds(token.text),), "timespan")
        if token.kind == "name":
            if token.text in ("true", "false"):
                return _Expression("1" if token.text == "true" else "0", (), "bool")
            return self._call(token.text) if self._take("(") else self._column(token.text)
        raise KqlError(f"Unexpected '{token.text}'")

    def _column(self, name: str) -> _Expression:
        found = next((column for column in self._columns if column.name == name), None)
        if found is None:
            raise KqlError(f"Failed to resolve scalar expression named '{name}'")
        path, last = "", name
        while self._peek(".") and self._ahead(1) != ".":
            self._expect(".")
            last = self._name("a field")
            path += f".{last}"
        if not path:
            return _Expression(_quoted(name), (), found.type, name)
        if found.type != "dynamic":
            raise KqlError(f"'{name}' is no dynamic column: it has no '{last}'")
        return _Expression(f"json_extract({_quoted(name)}, ?)", (f"${path}",), "string", f"{name}_{last}")

    def _call(self, function: str) -> _Expression:
        arguments = [] if self._peek(")") else [self._expression()]
        while self._take(","):
            arguments.append(self._expression())
        self._expect(")")
        return self._function(function, arguments)

    def _function(self, function: str, arguments: list[_Expression]) -> _Expression:
        values = tuple(value for argument in arguments for value in argument.parameters)
        sql = [argument.sql for argument in arguments]
        kinds = [argument.type for argument in arguments]
        match function, kinds:
            case "now", []:
                return _Expression("?", (render_time(self._now),), "datetime")
            case "ago", ["timespan"]:
                seconds = values[0]
                assert isinstance(seconds, float)
                return _Expression("?", (render_time(self._now - timedelta(seconds=seconds)),), "datetime")
            case "datetime" | "todatetime", ["string"] if sql == ["?"]:
                return _Expression("?", (_time(str(values[0])),), "datetime")
            case "bin", ["datetime", "timespan"]:
                # The size of the bin stands twice in the SQL.
                step = f"CAST({sql[1]} AS INTEGER)"
                size = arguments[1].parameters
                text = f"strftime('%Y-%m-%dT%H:%M:%S.000000Z', (unixepoch({sql[0]}) / {step}) * {step}, 'unixepoch')"
                return _Expression(text, (*arguments[0].parameters, *size, *size), "datetime", arguments[0].name)
            case "not", [_]:
                return _Expression(f"(NOT {sql[0]})", values, "bool")
            case "tolower" | "toupper", [_]:
                return _Expression(f"{function[2:]}({sql[0]})", values, "string", arguments[0].name)
            case "tostring", [_]:
                return _Expression(f"CAST({sql[0]} AS TEXT)", values, "string", arguments[0].name)
            case "toint" | "tolong", [_]:
                return _Expression(f"CAST({sql[0]} AS INTEGER)", values, "long", arguments[0].name)
            case "strlen", [_]:
                return _Expression(f"length({sql[0]})", values, "long")
            case "isempty", [_]:
                return _Expression(f"(coalesce({sql[0]}, '') = '')", values, "bool")
            case "isnotempty", [_]:
                return _Expression(f"(coalesce({sql[0]}, '') <> '')", values, "bool")
            case "strcat", [_, *_]:
                joined = " || ".join(f"coalesce({part}, '')" for part in sql)
                return _Expression(f"({joined})", values, "string")
        raise KqlError(f"The function '{function}' with {len(arguments)} arguments of these types is not supported")

    def _count(self) -> int:
        token = self._next("a number")
        if token.kind != "number" or "." in token.text:
            raise KqlError(f"'{token.text}' is no number of rows")
        return min(int(token.text), MOST_ROWS)

    def _name(self, what: str) -> str:
        token = self._next(what)
        if token.kind != "name":
            raise KqlError(f"Expected {what} at '{token.text}'")
        return token.text

    def _next(self, what: str) -> _Token:
        if self._at >= len(self._tokens):
            raise KqlError(f"Expected {what} at the end of the query")
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self, text: str) -> bool:
        return self._ahead(0) == text

    def _ahead(self, by: int) -> str:
        at = self._at + by
        if at >= len(self._tokens) or self._tokens[at].kind == "string":
            return ""
        return self._tokens[at].text

    def _take(self, text: str) -> bool:
        if self._peek(text):
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            found = self._tokens[self._at].text if self._at < len(self._tokens) else "the end of the query"
            raise KqlError(f"Expected '{text}' at '{found}'")


def _joined(left: _Expression, sign: str, right: _Expression, type_: str) -> _Expression:
    return _Expression(f"({left.sql} {sign} {right.sql})", (*left.parameters, *right.parameters), type_)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _unquoted(text: str) -> str:
    if text.startswith("@"):
        return text[2:-1]
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text[1:-1])


def _seconds(text: str) -> float:
    unit = text.lstrip("0123456789.")
    return float(text[: -len(unit)]) * _UNITS[unit]


def _time(text: str) -> str:
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise KqlError(f"'{text}' is no time") from error
    return render_time(time if time.tzinfo else time.replace(tzinfo=UTC))
