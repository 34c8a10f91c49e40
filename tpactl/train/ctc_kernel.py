"""The kernels of ``ctc``, which alone needs Triton.

States are labels with a blank before, between and behind them. Source: Graves et al. 2006,
sec. 4.1, in log space.
"""

import triton
import triton.language as tl


@triton.jit
def paths(
    log_probs,
    labels,
    lengths,
    label_lengths,
    table,
    losses,
    batch,
    frames,
    classes,
    most_labels,
    BLANK: tl.constexpr,
    STATES: tl.constexpr,
):
    """Write the scores of all paths into each state, and one utterance's loss.

    The second program of an utterance walks from its end: time and states are turned round, and
    what it does is the same. Its table is in the order of its steps and states.
    """
    row, backwards = tl.program_id(0), tl.program_id(1)
    length, count = tl.load(lengths + row), tl.load(label_lengths + row)
    state = tl.arange(0, STATES)
    is_state = state < 2 * count + 1
    is_label = is_state & (state % 2 == 1)
    index = tl.where(backwards == 1, count - 1 - state // 2, state // 2)
    before = tl.where(backwards == 1, index + 1, index - 1)
    labels += row.to(tl.int64) * most_labels
    label = tl.load(labels + index, is_label, BLANK)
    may_skip = is_label & (state > 2)
    may_skip = may_skip & (tl.load(labels + before, may_skip, BLANK) != label)
    table += (backwards * batch + row).to(tl.int64) * frames * STATES
    log_probs += row.to(tl.int64) * frames * classes
    last = tl.maximum(length - 1, 0)
    frame = tl.where(backwards == 1, last, 0)
    emission = tl.load(log_probs + frame * classes + label, is_state, float("-inf"))
    score = tl.where(state < 2, emission, float("-inf"))
    for step in range(1, length):
        came = table + (step - 1) * STATES + state
        tl.store(came, score)
        # Read before the threads wait for each other: it does not depend on them.
        frame = tl.where(backwards == 1, last - step, step)
        emission = tl.load(log_probs + frame * classes + label, is_state, float("-inf"))
        tl.debug_barrier()
        one = tl.load(came - 1, state > 0, float("-inf"))
        two = tl.load(came - 2, may_skip, float("-inf"))
        top = tl.maximum(tl.maximum(score, one), two)
        top = tl.where(top == float("-inf"), 0.0, top)
        score = top + tl.log(tl.exp(score - top) + tl.exp(one - top) + tl.exp(two - top)) + emission
    tl.store(table + last * STATES + state, score)
    is_end = is_state & (state >= 2 * count - 1)
    ends = tl.where(is_end, score, float("-inf"))
    top = tl.max(ends, 0)
    top = tl.where(top == float("-inf"), 0.0, top)
    loss = -(top + tl.log(tl.sum(tl.exp(ends - top), 0)))
    # Without frames only nothing can have been said.
    loss = tl.where(length > 0, loss, tl.where(count > 0, float("inf"), 0.0))
    if backwards == 0:
        tl.store(losses + row, loss)


@triton.jit
def gradients(
    log_probs,
    labels,
    lengths,
    label_lengths,
    table,
    losses,
    of_losses,
    out,
    batch,
    frames,
    classes,
    most_labels,
    BLANK: tl.constexpr,
    STATES: tl.constexpr,
    CLASSES: tl.constexpr,
):
    """Write the gradient of one frame's logits: what was said, less what should have been."""
    row, frame = tl.program_id(0), tl.program_id(1)
    length, count = tl.load(lengths + row), tl.load(label_lengths + row)
    loss = tl.load(losses + row)
    counts = (frame < length) & (loss < float("inf"))
    weight = tl.load(of_losses + row)
    state = tl.arange(0, STATES)
    is_state = state < tl.where(counts, 2 * count + 1, 0)
    is_label = is_state & (state % 2 == 1)
    labels += row.to(tl.int64) * most_labels
    label = tl.load(labels + state // 2, is_label, BLANK)
    here = (row.to(tl.int64) * frames + frame) * classes
    into = (row.to(tl.int64) * frames + frame) * STATES + state
    onward = ((batch + row).to(tl.int64) * frames + length - 1 - frame) * STATES + 2 * count - state
    # Both scores hold the frame's own.
    score = tl.load(table + into, is_state, float("-inf"))
    score += tl.load(table + onward, is_state, float("-inf"))
    score -= tl.load(log_probs + here + label, is_state, 0.0)
    share = tl.where(is_state, tl.exp(score + loss) * weight, 0.0)
    blank = tl.sum(tl.where(state % 2 == 0, share, 0.0), 0)
    for begin in range(0, classes, CLASSES):
        one = begin + tl.arange(0, CLASSES)
        said = tl.exp(tl.load(log_probs + here + one, one < classes, float("-inf"))) * weight
        said = tl.where(counts, said, 0.0)
        tl.store(out + here + one, said - tl.where(one == BLANK, blank, 0.0), one < classes)
    tl.debug_barrier()
    # The same label may stand in several states.
    tl.atomic_add(out + here + label, -share, is_label)
