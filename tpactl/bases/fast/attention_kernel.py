"""The kernels of ``attention``, which alone needs Triton."""

import triton
import triton.language as tl

LOWEST = tl.constexpr(-3.0e38)
"""Of a padded key; finite, so that no query is without weights."""


@triton.jit
def weights(
    scores,
    distances,
    valid,
    out,
    batch,
    heads,
    frames,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the weights of ROWS queries over all keys; rows are in the order of the scores."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    key = tl.arange(0, BLOCK)
    inside = (row < batch * heads * frames)[:, None] & (key < frames)[None, :]
    query, utterance, head = row % frames, row // frames // heads, row // frames % heads
    # Distances go by head first.
    first = ((head * batch + utterance) * frames + query) * (2 * frames) + (frames - 1 - query)
    score = tl.load(scores + row[:, None] * frames + key[None, :], inside, 0.0).to(tl.float32)
    score += tl.load(distances + first[:, None] + key[None, :], inside, 0.0).to(tl.float32)
    kept = tl.load(valid + utterance[:, None] * frames + key[None, :], inside, 0)
    score = tl.where(kept != 0, score, LOWEST)
    score = tl.where((key < frames)[None, :], score, float("-inf"))
    weight = tl.exp(score - tl.max(score, 1)[:, None])
    weight = weight / tl.sum(weight, 1)[:, None]
    tl.store(out + row[:, None] * frames + key[None, :], weight.to(out.dtype.element_ty), inside)


@triton.jit
def score_gradients(
    grad,
    weights,
    of_scores,
    of_distances,
    batch,
    heads,
    frames,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the gradients of ROWS queries' scores; those by distance are moved, zero elsewhere."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    key = tl.arange(0, BLOCK)
    is_row = (row < batch * heads * frames)[:, None]
    query, utterance, head = row % frames, row // frames // heads, row // frames % heads
    inside = is_row & (key < frames)[None, :]
    place = row[:, None] * frames + key[None, :]
    weight = tl.load(weights + place, inside, 0.0).to(tl.float32)
    given = tl.load(grad + place, inside, 0.0).to(tl.float32)
    mean = tl.sum(weight * given, 1)[:, None]
    kind = of_scores.dtype.element_ty
    tl.store(of_scores + place, (weight * (given - mean)).to(kind), inside)
    column = tl.arange(0, 2 * BLOCK)
    moved = column[None, :] - (frames - 1 - query)[:, None]
    is_key = is_row & (moved >= 0) & (moved < frames)
    place = row[:, None] * frames + moved
    # Read again rather than moved between threads; it is still in the cache.
    weight = tl.load(weights + place, is_key, 0.0).to(tl.float32)
    given = tl.load(grad + place, is_key, 0.0).to(tl.float32)
    moved_row = (head * batch + utterance) * frames + query
    place = moved_row[:, None] * (2 * frames) + column[None, :]
    is_column = is_row & (column < 2 * frames)[None, :]
    tl.store(of_distances + place, (weight * (given - mean)).to(kind), is_column)


@triton.jit
def split(
    qkv,
    bias_u,
    bias_v,
    near,
    far,
    k,
    v,
    scale,
    batch,
    frames,
    heads,
    head_dim,
    TOKENS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write queries, keys or values of one head and TOKENS tokens where their head keeps them."""
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    part, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    dim = tl.arange(0, BLOCK)
    inside = (token < batch * frames)[:, None] & (dim < head_dim)[None, :]
    utterance, frame = token // frames, token % frames
    source = (token * 3 + part) * heads + head
    value = tl.load(qkv + source[:, None] * head_dim + dim[None, :], inside, 0.0)
    to = ((utterance * heads + head) * frames + frame)[:, None] * head_dim + dim[None, :]
    if part == 0:
        kind = near.dtype.element_ty
        query = value.to(tl.float32)
        own = head * head_dim + dim
        u = tl.load(bias_u + own, dim < head_dim, 0.0).to(tl.float32)
        tl.store(near + to, ((query + u[None, :]) * scale).to(kind), inside)
        w = tl.load(bias_v + own, dim < head_dim, 0.0).to(tl.float32)
        # By head first: there all utterances are rows of one product.
        to = ((head * batch + utterance) * frames + frame)[:, None] * head_dim + dim[None, :]
        tl.store(far + to, ((query + w[None, :]) * scale).to(kind), inside)
    elif part == 1:
        tl.store(k + to, value, inside)
    else:
        tl.store(v + to, value, inside)


@triton.jit
def join(
    near,
    far,
    k,
    v,
    out,
    scale,
    batch,
    frames,
    heads,
    head_dim,
    TOKENS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the gradient of what ``split`` read, by those of what it wrote."""
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    part, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    dim = tl.arange(0, BLOCK)
    inside = (token < batch * frames)[:, None] & (dim < head_dim)[None, :]
    utterance, frame = token // frames, token % frames
    source = (token * 3 + part) * heads + head
    place = out + source[:, None] * head_dim + dim[None, :]
    of = ((utterance * heads + head) * frames + frame)[:, None] * head_dim + dim[None, :]
    if part == 0:
        value = tl.load(near + of, inside, 0.0).to(tl.float32)
        of = ((head * batch + utterance) * frames + frame)[:, None] * head_dim + dim[None, :]
        value += tl.load(far + of, inside, 0.0).to(tl.float32)
        tl.store(place, (value * scale).to(out.dtype.element_ty), inside)
    elif part == 1:
        tl.store(place, tl.load(k + of, inside, 0.0), inside)
    else:
        tl.store(place, tl.load(v + of, inside, 0.0), inside)


@triton.jit
def turn(
    source,
    out,
    batch,
    frames,
    heads,
    head_dim,
    TO_HEADS: tl.constexpr,
    TOKENS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write (batch, heads, frames, head_dim) as (batch, frames, heads, head_dim), or back."""
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    head = tl.program_id(1)
    dim = tl.arange(0, BLOCK)
    inside = (token < batch * frames)[:, None] & (dim < head_dim)[None, :]
    by_token = (token * heads + head)[:, None] * head_dim + dim[None, :]
    utterance, frame = token // frames, token % frames
    by_head = ((utterance * heads + head) * frames + frame)[:, None] * head_dim + dim[None, :]
    if TO_HEADS:
        tl.store(out + by_head, tl.load(source + by_token, inside, 0.0), inside)
    else:
        tl.store(out + by_token, tl.load(source + by_head, inside, 0.0), inside)
