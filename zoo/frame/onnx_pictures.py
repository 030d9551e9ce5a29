"""Preprocess pictures with ONNX operations, before an exported network.

For a batch of pictures of one size, it does the same as `Preprocessing`: resize the short side (bytes to bytes,
antialiased), crop the centre, normalise.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.frame.preprocessing import Preprocessing, Whitening

# `sides` are height and width, (2,) int64; a crop of `to` begins at round((from - to) / 2), half to even as in Python
GRAPH = """
<ir_version: {ir}, opset_import: ["" : {opset}]>
preparation ({kind}[N, H, W, {channels}] pictures) => (float[N, {channels}, {size}, {size}] {images})
<int64[1] p_size = {{{size}}}, int64[1] p_short_side = {{{short_side}}}, int64[1] p_small = {{{small}}},
 int64[1] p_4 = {{4}}, int64[1] p_100 = {{100}}, float[1] p_2 = {{2.0}}, int64[2] p_axes = {{2, 3}},
 float[{channels},1,1] p_one = {{{one}}},
 float[{channels},1,1] p_mean = {{{mean}}}, float[{channels},1,1] p_std = {{{std}}}>
{{
    p_planes = Transpose <perm = [0, 3, 1, 2]> (pictures)
    p_outer = Shape <start = 0, end = 2> (p_planes)
    p_all = Shape <start = 2, end = 4> (p_planes)
    p_short = ReduceMin <keepdims = 1> (p_all)
    p_longest = ReduceMax <keepdims = 1> (p_all)

    p_reach = Mul (p_short, p_4)
    p_limit = Mul (p_short, p_100)
    p_far = Greater (p_longest, p_limit)
    p_near = Min (p_all, p_reach)
    p_sides = Where (p_far, p_near, p_all)
    {trim}

    p_long = ReduceMax <keepdims = 1> (p_sides)
    p_is_small = LessOrEqual (p_long, p_short_side)
    p_wanted = Where (p_is_small, p_small, p_short_side)
    p_scaled = Mul (p_sides, p_wanted)
    p_new = Div (p_scaled, p_short)
    p_shape = Concat <axis = 0> (p_outer, p_new)
    p_resized = Resize <mode = "{mode}", antialias = 1, cubic_coeff_a = -0.5> (p_trimmed, , , p_shape)
    {cut}

    p_floats = Cast <to = 1> (p_middle)
    p_unit = Div (p_floats, p_one)
    p_centred = Sub (p_unit, p_mean)
    {normal} = Div (p_centred, p_std)
}}
"""
CROP = """{out}_spare = Sub ({sides}, {to})
    {out}_spare_float = Cast <to = 1> ({out}_spare)
    {out}_half = Div ({out}_spare_float, p_2)
    {out}_round = Round ({out}_half)
    {out}_begin = Cast <to = 7> ({out}_round)
    {out}_end = Add ({out}_begin, {to})
    {out} = Slice ({pixels}, {out}_begin, {out}_end, p_axes)"""


def prepend(network: Any, how: Preprocessing, images: str) -> Any:
    """Put the preprocessing before a network.

    Args:
        network: an `onnx.ModelProto`.
        how: size, short side, mean and std; with one view.
        images: the name of the network's input, float (N, C, S, S).

    Returns:
        An `onnx.ModelProto` whose input "pictures" is (N, H, W, C) for any N, H and W: uint8, with `how.scale` float32.

    Raises:
        ValueError: for ten crops.
    """
    from onnx import compose, parser

    if how.views != "center":
        raise ValueError(
            f"the export takes one view, the model uses {how.views}: export(..., preprocessing=Preprocessing(...))"
        )
    words = {
        "ir": network.ir_version,
        "opset": next(found.version for found in network.opset_import if found.domain == ""),
        "images": "p_images",
        "normal": "p_images" if how.whitening is None else "p_normal",
        "kind": "uint8" if how.scale is None else "float",
        "one": _numbers(how.scale or [255.0] * how.channels),
        "channels": how.channels,
        "size": how.size,
        "short_side": how.short_side,
        "small": how.size if how.keeps_small else how.short_side,
        "mode": {"bilinear": "linear", "bicubic": "cubic"}[how.interpolation],
        "mean": _numbers(how.mean),
        "std": _numbers(how.std),
        "trim": CROP.format(pixels="p_planes", sides="p_all", to="p_sides", out="p_trimmed"),
        "cut": CROP.format(pixels="p_resized", sides="p_new", to="p_size", out="p_middle"),
    }
    front = parser.parse_model(GRAPH.format(**words))
    if how.whitening is not None:
        _whiten(front.graph, how, how.whitening)
    return compose.merge_models(front, network, io_map=[("p_images", images)])


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(map(repr, map(float, values)))


def _whiten(graph: Any, how: Preprocessing, whitening: Whitening) -> None:
    """Add the whitening at the end of a graph, from "p_normal" to "p_images"."""
    from onnx import helper, numpy_helper

    arrays = {"p_middle_of_all": whitening.mean.numpy(), "p_matrix": whitening.matrix.T.contiguous().numpy()}
    arrays["p_image"] = np.array([0, how.channels, how.size, how.size])  # 0: N as it is
    steps = (
        ("Flatten", ["p_normal"], "p_rows"),
        ("Sub", ["p_rows", "p_middle_of_all"], "p_moved"),
        ("MatMul", ["p_moved", "p_matrix"], "p_white"),
        ("Reshape", ["p_white", "p_image"], "p_images"),
    )
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    graph.node.extend(helper.make_node(kind, inputs, [output]) for kind, inputs, output in steps)
