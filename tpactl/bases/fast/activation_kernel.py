"""The kernels of ``activation``, which alone needs Triton."""

import triton
import triton.language as tl


@triton.jit
def tile(num_rows, columns, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return where a tile and its bottleneck's units lie, and which of them exist."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < num_rows)[:, None] & (column < columns)[None, :]
    place = row[:, None] * columns + column[None, :]
    own = column - (columns - width)
    own_place = row[:, None] * width + own[None, :]
    return place, inside, own_place, inside & (own >= 0)[None, :]


@triton.jit
def units(
    before,
    kept,
    out,
    num_rows,
    columns,
    width,
    HAS_DROPOUT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write the hidden units of one tile."""
    place, inside, own_place, is_own = tile(num_rows, columns, width, ROWS, COLUMNS)
    value = tl.load(before + place, inside, 0.0).to(tl.float32)
    unit = value * tl.sigmoid(value)
    if HAS_DROPOUT:
        unit *= tl.load(kept + own_place, is_own, 1.0).to(tl.float32)
    tl.store(out + place, unit.to(out.dtype.element_ty), inside)


@triton.jit
def gradients(
    grad,
    before,
    kept,
    out,
    own_units,
    num_rows,
    columns,
    width,
    HAS_DROPOUT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write the gradient of one tile, and those of its units that are the bottleneck's."""
    place, inside, own_place, is_own = tile(num_rows, columns, width, ROWS, COLUMNS)
    value = tl.load(before + place, inside, 0.0).to(tl.float32)
    given = tl.load(grad + place, inside, 0.0).to(tl.float32)
    share = tl.sigmoid(value)
    unit = value * share
    change = given * share * (1 + value * (1 - share))
    if HAS_DROPOUT:
        factor = tl.load(kept + own_place, is_own, 1.0).to(tl.float32)
        unit *= factor
        change *= factor
    kind = out.dtype.element_ty
    tl.store(out + place, change.to(kind), inside)
    tl.store(own_units + own_place, unit.to(kind), is_own)
