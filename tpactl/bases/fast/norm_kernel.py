"""The kernels of ``norm``, which alone needs Triton."""

import triton
import triton.language as tl


@triton.jit
def added_norm(
    hidden,
    added,
    weight,
    bias,
    total,
    normed,
    statistics,
    num_rows,
    width,
    alpha,
    eps,
    HAS_ADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the sum and the norm of one row, its mean and the inverse of its deviation."""
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < width
    place = row.to(tl.int64) * width + column
    value = tl.load(hidden + place, inside, 0.0).to(tl.float32)
    kind = normed.dtype.element_ty
    if HAS_ADDED:
        value += alpha * tl.load(added + place, inside, 0.0).to(tl.float32)
        tl.store(total + place, value.to(kind), inside)
        # The norm is of what the backward pass will read.
        value = value.to(kind).to(tl.float32)
    mean = tl.sum(value, 0) / width
    centred = tl.where(inside, value - mean, 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
    tl.store(statistics + row, mean)
    tl.store(statistics + num_rows + row, inverse)
    factor = tl.load(weight + column, inside, 0.0).to(tl.float32)
    shift = tl.load(bias + column, inside, 0.0).to(tl.float32)
    tl.store(normed + place, (centred * inverse * factor + shift).to(kind), inside)


@triton.jit
def added_norm_gradient(
    of_normed,
    of_total,
    total,
    weight,
    statistics,
    out,
    scaled,
    num_rows,
    width,
    alpha,
    HAS_TOTAL: tl.constexpr,
    IS_SCALED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the gradient of one row's sum, and that of what was added."""
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < width
    place = row.to(tl.int64) * width + column
    mean, inverse = tl.load(statistics + row), tl.load(statistics + num_rows + row)
    value = tl.load(total + place, inside, 0.0).to(tl.float32)
    value = tl.where(inside, (value - mean) * inverse, 0.0)
    given = tl.load(of_normed + place, inside, 0.0).to(tl.float32)
    given *= tl.load(weight + column, inside, 0.0).to(tl.float32)
    change = given - tl.sum(given, 0) / width - value * (tl.sum(given * value, 0) / width)
    change *= inverse
    if HAS_TOTAL:
        change += tl.load(of_total + place, inside, 0.0).to(tl.float32)
    kind = out.dtype.element_ty
    tl.store(out + place, change.to(kind), inside)
    if IS_SCALED:
        tl.store(scaled + place, (alpha * change).to(kind), inside)
