"""Networks as lists of PyTorch operators that JSON can hold, so that a run folder can carry them.

`encode` traces a network with `torch.export`. `Graph` runs what it wrote: operators of ``aten`` and
arithmetic on sizes, and nothing else, so that a folder from a stranger runs no code of theirs.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, OutputKind

from lae_fast.errors import UntraceableError, reason

_ON_SIZES = ("add", "sub", "mul", "floordiv", "mod", "neg", "getitem")
"""Functions of Python's `operator` that traces contain beside the operators of ``aten``."""
_REFUSED = ("from_file",)
"""Operators of ``aten`` that touch more than tensors."""
_TYPES = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}
_KINDS = {
    InputKind.USER_INPUT: "input",
    InputKind.PARAMETER: "parameter",
    InputKind.BUFFER: "buffer",
    InputKind.CONSTANT_TENSOR: "constant",
}

Step = tuple[str, str, list[Any], dict[str, Any]]
"""What a value is: the input, a tensor or a call; its name; and a call's arguments."""


class Graph(nn.Module):
    """A network that calls one operator after the other.

    Args:
        steps: what `encode` wrote; the last one is the result.
        tensors: parameters, buffers and constants by name. A parameter's ``state_dict`` key is that
            of the network that was traced.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: a step that there is not.
    """

    def __init__(self, steps: Sequence[Step], tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._calls: list[tuple[Callable[..., Any] | None, Any, Any]] = []
        for kind, name, args, kwargs in steps:
            self._calls.append((_function(name) if kind == "call" else None, args, kwargs))
            if kind in ("parameter", "buffer", "constant"):
                self._hold(kind, name, tensors[name])
        self._names = [None if kind in ("call", "input") else name for kind, name, *_ in steps]

    def _hold(self, kind: str, name: str, value: Tensor) -> None:
        *folders, last = name.split(".")
        place: nn.Module = self
        for folder in folders:
            if folder not in place._modules:
                place.add_module(folder, nn.Module())
            place = place.get_submodule(folder)
        if kind == "parameter":
            place.register_parameter(last, nn.Parameter(value, value.is_floating_point()))
        else:
            place.register_buffer(last, value, persistent=kind == "buffer")

    def forward(self, x: Tensor) -> Tensor:
        """What the network computes from ``x``, whose first dimension may have any size."""
        held = dict(self.named_parameters()) | dict(self.named_buffers())
        values: list[Any] = []

        def decoded(item: Any) -> Any:
            if isinstance(item, list):
                return [decoded(part) for part in item]
            if not isinstance(item, dict):
                return item
            ((kind, value),) = item.items()
            if kind == "value":
                return values[value]
            if kind == "device":
                return x.device
            if kind == "float":
                return float(value)
            found = getattr(torch, value)
            if not isinstance(found, _TYPES[kind]):
                raise TypeError(f"{value} is no {kind}")
            return found

        for (function, args, kwargs), name in zip(self._calls, self._names, strict=True):
            if function is None:
                values.append(x if name is None else held[name])
            else:
                named = {key: decoded(value) for key, value in kwargs.items()}
                values.append(function(*map(decoded, args), **named))
        result: Tensor = values[-1]
        return result


def encode(network: nn.Module, example: Tensor) -> tuple[list[Step], dict[str, Tensor]]:
    """A network's steps, as plain JSON values, and its tensors by name.

    Args:
        network: maps one tensor to one tensor, rows to rows. It is traced on the CPU.
        example: an input of at least 2 rows.

    Raises:
        UntraceableError: its calls depend on values, or it calls what `Graph` does not.
    """
    program = _traced(network, example)
    signature = program.graph_signature
    if [spec.kind for spec in signature.output_specs] != [OutputKind.USER_OUTPUT]:
        raise UntraceableError("it changes its own buffers, or returns more than one tensor")
    given = {spec.arg.name: spec for spec in signature.input_specs}
    held = {**program.state_dict, **program.constants}
    steps: list[Step] = []
    tensors: dict[str, Tensor] = {}
    places: dict[Any, int] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            spec = given[node.name]
            if spec.kind not in _KINDS:
                raise UntraceableError(f"it holds {node.name}, which is no tensor")
            kind = _KINDS[spec.kind]
            if kind == "buffer" and spec.persistent is False:
                kind = "constant"
            name = spec.target or ""
            if kind != "input":
                tensors[name] = held[name].detach().clone()
            steps.append((kind, name, [], {}))
        elif node.op == "call_function":
            name = _name(node.target)
            if name.startswith("aten._assert"):
                continue
            kwargs = {key: _plain(value, places) for key, value in node.kwargs.items()}
            steps.append(("call", name, [_plain(arg, places) for arg in node.args], kwargs))
        elif node.op == "output":
            if places[node.args[0][0]] != len(steps) - 1:
                raise UntraceableError("its result is not what it computes last")
            continue
        else:
            raise UntraceableError(f"it calls {node.target}")
        places[node] = len(steps) - 1
    _require_same(network, Graph(steps, tensors), example)
    return steps, tensors


def _traced(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    log = logging.getLogger("torch")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what the tracer stumbles over is in the error already
    try:
        rows = torch.export.Dim.DYNAMIC
        with contextlib.redirect_stderr(io.StringIO()):
            return torch.export.export(network, (example,), dynamic_shapes=({0: rows},))
    except Exception as error:  # whatever the network and the tracer trip over
        raise UntraceableError(reason(error).partition("\n")[0]) from error
    finally:
        log.setLevel(level)


def _require_same(network: nn.Module, graph: Graph, example: Tensor) -> None:
    """Refuse a trace that does anything else than the network, at another number of rows."""
    x = torch.cat([example, example])
    with torch.no_grad():
        try:
            same = torch.allclose(graph(x), network(x), atol=1e-5)
        except Exception as error:
            raise UntraceableError(reason(error).partition("\n")[0]) from error
    if not same or graph.state_dict().keys() != network.state_dict().keys():
        raise UntraceableError("its trace computes something else")


def _name(target: Any) -> str:
    """The name of a function that `_function` finds."""
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        name = str(target)
    else:
        name = f"operator.{getattr(target, '__name__', '')}"
    try:
        found = _function(name)
    except (LookupError, AttributeError, ValueError):
        found = None
    if found is not target:
        raise UntraceableError(f"it calls {target}")
    return name


def _function(name: str) -> Callable[..., Any]:
    """The operator of a name such as ``aten.conv2d.default`` or ``operator.mul``."""
    library, function, *overload = name.split(".")
    if library == "operator" and function in _ON_SIZES and not overload:
        found: Callable[..., Any] = getattr(operator, function)
        return found
    if library != "aten" or function in _REFUSED or len(overload) != 1:
        raise ValueError(f"no operator {name}")
    operation = getattr(getattr(torch.ops.aten, function), overload[0])
    if not isinstance(operation, torch._ops.OpOverload):
        raise ValueError(f"no operator {name}")
    return operation


def _plain(value: Any, places: Mapping[Any, int]) -> Any:
    """An argument of a call as a JSON value."""
    if isinstance(value, list | tuple):
        return [_plain(item, places) for item in value]
    if isinstance(value, torch.fx.Node):
        return {"value": places[value]}
    if isinstance(value, torch.device):
        return {"device": None}  # that of the input, wherever the network is then
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    for kind, type_ in _TYPES.items():
        if isinstance(value, type_):
            return {kind: str(value).removeprefix("torch.")}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UntraceableError(f"it calls an operator with {type(value).__name__}")
