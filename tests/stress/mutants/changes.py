"""The single changes to the code that tests have to notice.

Cosmic Ray makes them. mutmut 3, which was tried beside it, changes no code outside of functions and
none in a function with a decorator (a property, a context manager), and goes on in forks of a
process in which tests have left threads. Left out here are what no behaviour hangs on (annotations,
messages, decorators, what only type checkers read) and changes that any call would end with.
"""

from __future__ import annotations

import ast
import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import ndiff
from itertools import islice
from operator import itemgetter
from pathlib import Path

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator

# What is nearest to the code as it is: a slip of the pen, not another program.
_BINARY = (
    *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "Mod_FloorDiv", "Pow_Mul"),
    *("RShift_LShift", "LShift_RShift", "BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitOr"),
)
_COMPARISON = (
    *("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE"),
    *("GtE_Gt", "GtE_Lt", "Is_IsNot", "IsNot_Is"),
)
_NAMES = (
    *(f"ReplaceBinaryOperator_{name}" for name in _BINARY),
    *(f"ReplaceComparisonOperator_{name}" for name in _COMPARISON),
    *(f"ReplaceUnaryOperator_Delete_{name}" for name in ("USub", "Invert", "Not")),
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceBreakWithContinue"),
    *("ReplaceContinueWithBreak", "ExceptionReplacer", "NumberReplacer", "ZeroIterationForLoop"),
)
# Leaves of the tree that no operator changes.
_NEVER = {"name", "newline", "string", "fstring_string"}
# Messages, filters of warnings, and `reshape`, for which any number below 0 is -1.
_NO_EFFECT = {
    *("debug", "info", "warning", "warn", "error", "exception", "log"),
    *("simplefilter", "filterwarnings", "reshape"),
}


class LeaveOut(Operator):
    """Leave out a statement that is made for its effect: a call, `+=`, an item or attribute set.

    Cosmic Ray has no such change, and without it nobody sees that a lock is not released.
    """

    def mutation_positions(self, node):
        if node.type == "simple_stmt" and self._has_effect(node.children[0]):
            yield node.children[0].start_pos, node.children[0].end_pos

    @staticmethod
    def _has_effect(statement: parso.tree.NodeOrLeaf) -> bool:
        if statement.type != "expr_stmt":
            return statement.type == "atom_expr" and statement.children[-1].type == "trailer"
        target, sign = statement.children[:2]
        function = statement.search_ancestor("funcdef")
        made = function is not None and function.name.value == "__init__"
        return sign.type == "operator" and (
            sign.value != "=" or (target.type == "atom_expr" and not made)
        )

    def mutate(self, node, index):
        first = node.children[0]
        node.children[0] = parso.python.tree.Keyword(
            "pass", first.start_pos, first.get_first_leaf().prefix
        )
        return node

    @classmethod
    def examples(cls):
        return ()


_OPERATORS = {
    **{name: get_operator(f"core/{name}")() for name in _NAMES},
    "LeaveOut": LeaveOut(),
}


@dataclass(frozen=True)
class Change:
    """One change to a module.

    Attributes
    ----------
    module : str
        Its path from the root of the repository.
    line : int
        Where it is made.
    statement : (2,) int
        The first and last line of the statement that it is in, of the head of one with a body;
        (0, 0) outside of functions, where code runs once for all tests.
    key : str
        Tells the place from others, and stays the same where code around it changes, as what a
        seed draws then does.
    operator, occurrence : str, int
        What Cosmic Ray is told.
    """

    module: str
    line: int
    statement: tuple[int, int]
    key: str
    operator: str
    occurrence: int

    def apply(self, source: str) -> str:
        """Return the module's source with the change in it."""
        return mutate_code(source, _OPERATORS[self.operator], self.occurrence)

    def lines(self, source: str) -> tuple[str, str]:
        """Return the lines before and after, without indentation."""
        diff = list(ndiff(source.splitlines(), self.apply(source).splitlines()))
        before, after = (
            " ".join(line[2:].strip() for line in diff if line.startswith(sign)) for sign in "-+"
        )
        return before, after


def draw_changes(root: Path, modules: Sequence[str], count: int, seed: int) -> list[Change]:
    """Return so many changes of all there are in modules, not more than one at a place."""
    found = []
    for module in modules:
        source = (root / module).read_text(encoding="utf-8")
        for place in changes_of(module, source):
            order = hashlib.sha256(f"{seed} {place[0].key}".encode()).hexdigest()
            found.append((order, random.Random(order).choice(place), source))
    drawn = (
        change
        for _, change, source in sorted(found, key=itemgetter(0))
        if _is_code(change.apply(source))
    )
    return list(islice(drawn, count))


def _is_code(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:  # `while not line := next(lines)`
        return False
    return True


def changes_of(module: str, source: str) -> list[list[Change]]:
    """Return the changes of a module, those of the same place together."""
    tree, lines = ast.parse(source), source.splitlines()
    left_out, statements = list(_left_out(tree)), list(_statements(tree))
    nodes = [node for node in ast_nodes(get_ast(source)) if node.type not in _NEVER]
    found: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for name, operator in _OPERATORS.items():
        positions = (
            (node, *where) for node in nodes for where in operator.mutation_positions(node)
        )
        for occurrence, (node, start, end) in enumerate(positions):
            if _fits(name, node) and not any(a <= start and end <= b for a, b in left_out):
                found.setdefault(start, []).append((name, occurrence))
    seen: Counter[str] = Counter()
    places = []
    for (line, column), ways in sorted(found.items()):
        text = lines[line - 1].strip()
        key = f"{module} {column - lines[line - 1].index(text)} {text}"
        seen[key] += 1
        statement = max((s for s in statements if s[0] <= line <= s[1]), default=(0, 0))
        places.append([Change(module, line, statement, f"{key} {seen[key]}", *way) for way in ways])
    return places


def _fits(operator: str, node: parso.tree.NodeOrLeaf) -> bool:
    """Say whether Cosmic Ray can change that, or takes it for something else."""
    if operator == "ExceptionReplacer":
        return not {".", "*"} & set(node.get_code())
    if "Pow" in operator and node.parent.type != "power":  # {**a}
        return False
    return node.parent is None or node.parent.type != "parameters"  # f(a, *, b)


def _statements(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """Yield the lines of statements in functions, and of the heads of those with a body."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.stmt | ast.ExceptHandler) and node is not function:
                    body = getattr(node, "body", None)
                    last = body[0].lineno - 1 if body else node.end_lineno
                    yield node.lineno, max(node.lineno, last or 0)


def _left_out(tree: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield from where to where the code is left as it is."""
    for node in ast.walk(tree):
        for part in _parts_left_out(node):
            if part is not None:
                end = part.end_lineno or 0, part.end_col_offset or 0
                yield (part.lineno, part.col_offset), end


def _parts_left_out(node: ast.AST) -> Sequence[ast.AST | None]:
    match node:
        case ast.FunctionDef(decorator_list=decorators):
            overload = any("overload" in ast.unparse(decorator) for decorator in decorators)
            return [node] if overload else [*decorators, node.returns]
        case ast.ClassDef():
            return node.decorator_list
        case ast.arg() | ast.AnnAssign():
            return [node.annotation]
        case ast.Raise():
            return [node.exc]
        case ast.keyword(arg="strict"):
            return [node.value]
        # How much memory something may take, or is read at a time: `1 << 20`.
        case ast.BinOp(op=ast.LShift(), left=ast.Constant(), right=ast.Constant()):
            return [node]
        case ast.Call(func=ast.Attribute(attr=name)) if name in _NO_EFFECT:
            return [node]
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return [node]
        # An alias of types: `Index = int | slice`.
        case ast.Module(body=body):
            return [
                s.value
                for s in body
                if isinstance(s, ast.Assign) and "|" in ast.unparse(s.value) and _is_names(s.value)
            ]
    return []


def _is_names(value: ast.expr) -> bool:
    kinds = ast.BinOp | ast.BitOr | ast.Name | ast.Attribute | ast.Subscript | ast.Load | ast.Tuple
    return all(isinstance(node, kinds) or _is_none(node) for node in ast.walk(value))


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
