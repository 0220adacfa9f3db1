"""Floating point operations of an ONNX graph."""

import math
from typing import Any

_MOST_NODES = 100_000


def graph_flops(content: bytes, height: int, width: int) -> int | None:
    """Operations of the convolutions and matrix products for one image, a multiply-add counted as two.

    Args:
        content: of an ONNX file.
        height: of the input, in pixels.
        width: of the input, in pixels.

    Returns:
        None where it cannot be known: no package `onnx`, a graph with other graphs inside (loops and branches) or
        one whose shapes hang on the values.
    """
    try:
        import onnx
    except ImportError:
        return None
    try:
        model = onnx.load_from_string(content)
        for dimension, size in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 3, height, width), strict=True):
            dimension.dim_value = size
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # whatever is wrong with the graph, what it costs is not known
        return None
    shapes = {each.name: _shape(each.type.tensor_type) for each in (*graph.value_info, *graph.input, *graph.output)}
    shapes |= {each.name: list(each.dims) for each in graph.initializer}
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        return None
    total = 0
    for node in graph.node:
        count = _of_node(node, shapes)
        if count is None:
            return None
        total += count
    return total


def _shape(kind: Any) -> list[int] | None:
    sizes = [each.dim_value for each in kind.shape.dim]
    return sizes if all(sizes) else None


def _of_node(node: Any, shapes: dict[str, list[int] | None]) -> int | None:
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return 0
    first, second, out = (shapes.get(name) for name in (node.input[0], node.input[1], node.output[0]))
    if first is None or second is None or out is None:
        return None
    if node.op_type == "Conv":
        return 2 * math.prod(out) * math.prod(second[1:])
    transposed = any(each.name == "transA" and each.i for each in node.attribute)
    return 2 * math.prod(out) * first[0 if transposed else -1]
