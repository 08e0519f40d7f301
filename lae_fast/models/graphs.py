"""Networks as lists of PyTorch operators that JSON can hold, so that a run folder can carry them.

`encode` traces a network with `torch.export`. `Graph` runs what it wrote: operators of ``aten``
that check their arguments and write to none, and arithmetic on sizes. Nothing else, so that a
folder from a stranger runs no code of theirs.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, OutputKind

from lae_fast.errors import UntraceableError, reason

_ON_SIZES = ("add", "sub", "mul", "floordiv", "mod", "neg", "getitem")
"""Functions of Python's `operator` that traces contain beside the operators of ``aten``."""
_NAMES = """
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    linear bilinear matmul mm bmm addmm baddbmm mv dot outer einsum _weight_norm
    layer_norm group_norm instance_norm batch_norm rms_norm linalg_vector_norm
    scaled_dot_product_attention dropout
    relu relu6 leaky_relu elu selu celu gelu silu mish softplus hardtanh hardswish
    hardsigmoid sigmoid log_sigmoid tanh softshrink hardshrink threshold prelu glu
    softmax log_softmax logsumexp cumsum
    max_pool1d max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d
    upsample_nearest1d upsample_nearest2d upsample_linear1d upsample_bilinear2d upsample_bicubic2d
    pixel_shuffle pixel_unshuffle pad constant_pad_nd
    view view_as reshape flatten unflatten permute transpose t movedim squeeze unsqueeze expand
    expand_as slice select narrow split split_with_sizes chunk unbind cat stack repeat tile flip
    roll tril triu contiguous clone detach alias lift_fresh_copy to _to_copy type_as
    add sub rsub mul div floor_divide remainder pow square sqrt rsqrt reciprocal neg abs sign exp
    expm1 log log1p log2 sin cos atan erf floor ceil round trunc clamp clamp_min clamp_max maximum
    minimum where masked_fill addcmul addcdiv lerp
    eq ne lt le gt ge logical_and logical_or logical_not
    mean sum prod amax amin var std
    full zeros ones arange linspace eye full_like zeros_like ones_like new_full new_zeros new_ones
    sym_size
"""
_OPERATORS = frozenset(_NAMES.split())
"""Operators of ``aten`` behind PyTorch's public functions, which check shapes and bounds. Others
may reach memory that is no tensor's: views by stride, indices, the insides of kernels."""
_FACTORIES = ("full", "zeros", "ones", "arange", "linspace", "eye")
"""Those that make tensors of numbers."""
_OVERLOADS = {
    **dict.fromkeys(("view", "mm", "bmm", "addmm", "baddbmm", "linspace"), ("default",)),
    **dict.fromkeys((name for name in _OPERATORS if name.startswith("upsample")), ("vec",)),
    "sym_size": ("int",),
    "to": ("device", "dtype", "other", "dtype_layout"),
    "where": ("self", "Scalar", "ScalarOther", "ScalarSelf"),
}
"""Where only some overloads are safe: others of `upsample` believe scales that belie the sizes."""
_DTYPES = {
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
}
_TYPES = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}
MOST_VALUES = 1 << 26
"""Elements of each tensor that a network from a folder may make of two rows."""
_MOST_PARTS = 1 << 16
_MOST = 1 << 31
"""What integers of a network stay below, so that no product of two overflows."""
_TO_THE_END = (1 << 63) - 1
_TAGS = {
    "ScalarType": "dtype",
    "Layout": "layout",
    "MemoryFormat": "memory_format",
    "Device": "device",
}
"""Types of arguments -> how their values are tagged in JSON."""
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
            function = _function(name) if kind == "call" else None
            _require_small((args, kwargs))
            _require_tagged(function, args, kwargs)
            if kind == "call" and name.split(".")[1] in _FACTORIES:
                kwargs = {**kwargs, "device": {"device": None}}  # of `check`, too: the input's
            self._calls.append((function, args, kwargs))
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
        return self._run(x, lambda *_: None)

    def check(self, x: Tensor) -> Tensor:
        """`forward` of a graph from a stranger, on the device ``meta``, where nothing is computed.

        Raises:
            ValueError: a tensor on the way would have more than `MOST_VALUES` elements.
        """
        names = dict(self.named_parameters()) | dict(self.named_buffers())
        held = {name: value.detach().to("meta") for name, value in names.items()}
        return self._run(x.to("meta"), _require_bounded, held)

    def _run(
        self,
        x: Tensor,
        check: Callable[[Callable[..., Any] | None, Any], None],
        held: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The last value; ``check`` sees each call's arguments before it, and its result after."""
        if held is None:
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
            if not isinstance(found, _TYPES[kind]) or not (
                kind == "memory_format" or found in _DTYPES or found is torch.strided
            ):
                raise TypeError(f"{value} is no {kind}")
            return found

        for (function, args, kwargs), name in zip(self._calls, self._names, strict=True):
            if function is None:
                values.append(x if name is None else held[name])
            else:
                given = [decoded(arg) for arg in args]
                named = {key: decoded(value) for key, value in kwargs.items()}
                check(function, given)
                values.append(function(*given, **named))
                check(None, values[-1])
        result: Tensor = values[-1]
        return result


def _require_small(item: Any) -> None:
    """Refuse integers that are no size of a tensor."""
    if isinstance(item, list | tuple):
        for part in item:
            _require_small(part)
    elif isinstance(item, dict):
        _require_small(list(item.values()))
    elif isinstance(item, int) and abs(item) >= _MOST and item != _TO_THE_END:
        raise ValueError(f"{item} is too large")


def _require_tagged(
    function: Callable[..., Any] | None, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Refuse types and layouts given as numbers: PyTorch takes any, and looks them up unchecked."""
    if not isinstance(function, torch._ops.OpOverload):
        return
    arguments = function._schema.arguments
    if len(args) > len(arguments):
        raise ValueError(f"too many arguments for {function}")
    given = {argument.name: value for argument, value in zip(arguments, args, strict=False)}
    given |= kwargs
    for argument in arguments:
        type_ = str(argument.real_type).removeprefix("Optional[").removesuffix("]")
        value = given.get(argument.name)
        if type_ not in _TAGS or value is None:
            continue
        if not isinstance(value, dict) or list(value) != [_TAGS[type_]]:
            raise TypeError(f"{argument.name} of {function} is no {_TAGS[type_]}")


def _require_bounded(function: Callable[..., Any] | None, values: Any) -> None:
    """Refuse a result (of no function), or arguments of one, that would fill the memory."""
    if function is None:
        _require_small(values)
        for value in values if isinstance(values, list | tuple) else [values]:
            if isinstance(value, Tensor) and value.numel() > MOST_VALUES:
                raise ValueError(f"it makes a tensor {tuple(value.shape)}")
    elif isinstance(function, torch._ops.OpOverload):
        parts = isinstance(function._schema.returns[0].type, torch.ListType)
        if parts and isinstance(values[0], Tensor) and max(values[0].shape) > _MOST_PARTS:
            raise ValueError(f"it takes a tensor {tuple(values[0].shape)} apart")


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
    try:
        graph = Graph(steps, tensors)
    except ValueError as error:  # an integer
        raise UntraceableError(reason(error)) from error
    _require_same(network, graph, example)
    return steps, tensors


def _traced(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    log = logging.getLogger("torch")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what the tracer stumbles over is in the error already
    try:
        rows = torch.export.Dim.DYNAMIC
        with contextlib.redirect_stderr(io.StringIO()):
            program = torch.export.export(network, (example,), dynamic_shapes=({0: rows},))
            if any(_mutates(node.target) for node in program.graph.nodes):
                program = program.run_decompositions({})  # has none of the operators in place
            return program
    except Exception as error:  # whatever the network and the tracer trip over
        raise UntraceableError(reason(error).partition("\n")[0]) from error
    finally:
        log.setLevel(level)


def _mutates(target: Any) -> bool:
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


def _require_same(network: nn.Module, graph: Graph, example: Tensor) -> None:
    """Refuse a trace that does anything else than the network, at another number of rows."""
    x = torch.cat([example, example])
    with torch.no_grad():
        try:
            graph.check(example[:2])
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
    if (found.args[0] if isinstance(found, partial) else found) is not target:
        raise UntraceableError(f"it calls {target}")
    return name


def _function(name: str) -> Callable[..., Any]:
    """The operator of a name such as ``aten.conv2d.default`` or ``operator.mul``."""
    library, function, *overload = name.split(".")
    if library == "operator" and function in _ON_SIZES and not overload:
        return partial(_on_sizes, getattr(operator, function))
    if library != "aten" or function not in _OPERATORS or len(overload) != 1:
        raise ValueError(f"no operator {name}")
    operation = getattr(getattr(torch.ops.aten, function), overload[0])
    if not isinstance(operation, torch._ops.OpOverload) or _mutates(operation):
        raise ValueError(f"no operator {name}")
    results = {str(result.type) for result in operation._schema.returns}
    safe = overload[0] in _OVERLOADS.get(function, overload)
    if not safe or not (function == "sym_size" or results <= {"Tensor", "List[Tensor]"}):
        raise ValueError(f"no operator {name}")
    return operation


def _on_sizes(function: Callable[..., Any], *args: Any) -> Any:
    """Arithmetic on sizes, or one of an operator's results: Python's would repeat lists, too."""
    first, *rest = args
    if function is operator.getitem:
        fit = isinstance(first, list | tuple) and isinstance(rest[0], int)
    else:
        fit = all(isinstance(arg, int | float) for arg in args)
    if not fit:
        raise TypeError(f"{function.__name__} is for sizes")
    return function(*args)


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
