"""What `exact_gains` may claim: its region's largest chance over all laws, bounded cell by cell.

A law with p' = theta is a point of a rectangle: a = P[f = c = f'] in [0, theta] and
b = P[f = c != f'] in [0, 1 - theta]. A region is what `exact_gains` makes, the counts first. See
docs/theory.md, section 13.
"""

from typing import Any

import numpy as np
from numba import njit

from smoothcert.bounds.buehler import ABSOLUTE, RELATIVE, SCALE, next_theta, weights_of

_SPARED = 0.05  # of alpha: what may be left of it, so that few cells show that it is kept
_CUT = 1e-4  # of alpha: the probability of counts too rare to look at, which count as in the region
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1), (1, 1), (-1, -1))
_MOST_CELLS = 200_000  # for one theta, which counts as no limit if it needs more
_MOST_TILT = 20.0  # of a cell's bound: the logarithm of what a probability is multiplied by
_FAR = 10.0  # of a cell's excess (`_parts`): it is divided without trying the tangents' bound
_TRIED = 1.2  # of the room to alpha: cells of more excess are divided into parts of about the room
_MOST_PARTS = 16  # of a cell
_STACK = 2000  # cells that wait


@njit(error_model="numpy")
def _chance(region, p, u, v, tilts, spared):
    """P[(K, X, Y) in the region], rounded up, with a factor exp(tilts . (1, M(K), L(K))).

    Counts that are too rare to matter are not looked at. What they add is at most 6 spared.
    """
    counts, blocks, full, start, least = region
    most = np.exp(tilts[0] + counts[1] * max(0.0, tilts[1]) + counts[2] * max(0.0, tilts[2]))
    cut = max(1e-20, spared / most)
    first, votes = weights_of(counts[0], p, cut)
    last = first + len(votes) - 1
    for i in range(len(votes) - 2, -1, -1):
        votes[i] += votes[i + 1]  # P[K >= first + i], but for the factor
    inside, mw, ml = 0.0, -1, -1
    lowest_x, flips, sums, lowest_y, gains = 0, votes, votes, 0, votes
    for i in range(len(blocks)):
        block = blocks[i]
        if block[1] < first or block[0] > last:
            continue
        if block[2] != mw:
            mw = block[2]
            lowest_x, flips = weights_of(mw, u, cut)
            flips /= flips.sum()
            sums = np.cumsum(flips)
        if block[3] != ml:
            ml = block[3]
            lowest_y, gains = weights_of(ml, v, cut)
            gains /= gains.sum()
        entered = votes[max(0, block[0] - first)]
        left = votes[block[1] + 1 - first] if block[1] < last else 0.0
        value = 0.0
        for j in range(len(gains)):
            r = block[4] + lowest_y + j
            row, shift = 0.0, start[r] - full[r]
            if full[r] > lowest_x:
                row = sums[min(full[r] - lowest_x, len(flips)) - 1] * (entered - left)
            for x in range(
                max(full[r], lowest_x), min(start[r + 1] - shift, lowest_x + len(flips))
            ):
                k = least[shift + x]
                if k > last:
                    break
                row += flips[x - lowest_x] * (votes[max(0, k - first)] - left)
            value += row * gains[j]
        inside += value * np.exp(tilts[0] + mw * tilts[1] + ml * tilts[2])
    return inside / votes[0] * (1 + RELATIVE) + (ABSOLUTE + 6 * cut) * most


@njit(error_model="numpy")
def _at(region, theta, a, b, spared):
    """The chance at p (1 - u) = a, p u = b and p' = theta."""
    p = a + b
    u = min(1.0, b / p) if p > 0 else 0.0
    v = min(1.0, (theta - a) / (1 - p)) if p < 1 else 0.0
    return _chance(region, p, u, v, (0.0, 0.0, 0.0), spared)


@njit(error_model="numpy")
def _on_cell(region, theta, cell, alpha):
    """What the chance is at most for a and b in [cell[0], cell[1]] x [cell[2], cell[3]].

    It may stop at the first corner that is above alpha, as the cell is divided then in any case.

    The probability of (k, x, y) is a constant times (a + b)^(k - M) (1 - a - b)^(n - k - L)
    b^x a^(M - x) (theta - a)^y (1 - theta - b)^(L - y). No exponent is negative, so its
    logarithm is concave. As in `exact`, the exponentials of the tangents at the cell's middle add
    up to a convex function, which is largest at a corner.
    """
    a0, a1, b0, b1 = cell
    da, db = 0.5 * (a1 - a0), 0.5 * (b1 - b0)
    a, b = a0 + da, b0 + db
    n, mw, ml = region[0][:3]
    p, other, last = a + b, theta - a, 1 - theta - b
    u, v = b / p, other / (1 - p)
    bound = 0.0
    for corner in range(4):
        ya, yb = da if corner & 1 else -da, db if corner & 2 else -db
        votes, lost = (ya + yb) / (p * (1 - p)), yb / b - ya / a
        gained = yb / last - ya / other
        by_k, by_x, by_y = p * np.expm1(votes), u * np.expm1(lost), v * np.expm1(gained)
        whole = n * (np.log1p(by_k) - (ya + yb) / (1 - p))
        of_x = np.log1p(by_x) - (ya + yb) / p + ya / a
        of_y = np.log1p(by_y) + (ya + yb) / (1 - p) - yb / last
        if not whole + mw * max(0.0, of_x) + ml * max(0.0, of_y) < _MOST_TILT:
            return np.inf
        tilted_p, tilted_u = p * np.exp(votes) / (1 + by_k), u * np.exp(lost) / (1 + by_x)
        tilted_v, tilts = v * np.exp(gained) / (1 + by_y), (whole, of_x, of_y)
        chance = _chance(region, tilted_p, tilted_u, tilted_v, tilts, _CUT * alpha)
        bound = max(bound, chance * (1 + RELATIVE))
        if not bound <= alpha:
            break
    return bound


@njit(error_model="numpy")
def _on_edge(region, theta, cell, alpha):
    """The same for cells at an edge or far from the region, where tangents are worth nothing.

    At any p the chance is at most that of the fewest flips and the most gains of the cell. In p
    alone a tangent bounds it as before. And the votes have to be as many as the region's.
    """
    a0, a1, b0, b1 = cell
    n, _, _, fewest, most = region[0]
    low, high = a0 + b0, min(1.0, a1 + b1)
    bound = 1.0
    if n * high < fewest:
        bound = _at_least(fewest, n, high)
    elif n * low > most:
        bound = _at_least(n - most, n, 1 - low)
    if bound <= alpha:
        return bound
    u, v = b0 / (a1 + b0) if b0 > 0 else 0.0, (theta - a0) / max(1e-300, 1 - a0 - b1)
    bound, p, w = 0.0, 0.5 * (low + high), 0.5 * (high - low)
    for y in (-w, w):
        votes = y / (p * (1 - p))
        by_k = p * np.expm1(votes)
        whole = n * (np.log1p(by_k) - y / (1 - p))
        if not whole < _MOST_TILT:
            return np.inf
        tilted, tilts = p * np.exp(votes) / (1 + by_k), (whole, 0.0, 0.0)
        chance = _chance(region, tilted, u, min(1.0, max(0.0, v)), tilts, _CUT * alpha)
        bound = max(bound, chance * (1 + RELATIVE))
    return bound


@njit(error_model="numpy")
def _shown(region, theta, cell, alpha, excess):
    """Whether one of the bounds on a cell is at most alpha."""
    if _on_cell(region, theta, cell, alpha) <= alpha:
        return True
    return excess > 1 and _on_edge(region, theta, cell, alpha) <= alpha


@njit(error_model="numpy")
def _at_least(hits, draws, p):
    """P[Bin(draws, p) >= hits], rounded up."""
    first, weights = weights_of(draws, p)
    beyond = weights[max(0, hits - first) :].sum() if hits < first + len(weights) else 0.0
    return beyond / weights.sum() * (1 + RELATIVE) + ABSOLUTE


@njit(error_model="numpy")
def _climb(region, theta, start, spared):
    """The largest chance that steps from a start lead to, halved where none goes up."""
    a, b, step = start[0] * theta, start[1] * (1 - theta), 0.02
    best = _at(region, theta, a, b, spared)
    while step > 2e-4:
        moved = False
        for direction in range(8):
            i, j = _DIRECTIONS[direction]
            c = min(theta, max(0.0, a + i * step * theta))
            d = min(1 - theta, max(0.0, b + j * step * (1 - theta)))
            value = _at(region, theta, c, d, spared)
            if value > best:
                best, a, b, moved = value, c, d, True
                break
        if not moved:
            step *= 0.5
    return best


@njit(error_model="numpy")
def _solve(region, theta, alpha, starts):
    """The theta at which the largest chance near the starts is just below alpha.

    Args:
        region: what is ordered as high as the outcome.
        theta: where to look first.
        alpha: error probability.
        starts: of climbs, shares of theta and of 1 - theta, shape (places, 2).

    Returns:
        A theta; 0 for none.
    """
    low, high, below, above = 0.0, 1.0, -np.inf, np.inf
    aim = np.log(alpha * (1 - _SPARED))
    for _ in range(60):
        largest = 0.0
        for i in range(len(starts)):
            largest = max(largest, _climb(region, theta, starts[i], _CUT * alpha))
        log = np.log(largest) - aim
        if log > 0:
            high, above = theta, log
        else:
            low, below = theta, log
        if -0.3 * _SPARED < log <= 0 or high - low < 1 / SCALE or theta < 1 / SCALE:
            break
        theta = next_theta(theta, low, high, below, above)
    return low


@njit(error_model="numpy")
def _holds(region, theta, alpha):
    """Whether the chance is shown to be at most alpha under every law with p' <= theta.

    The chance falls with u and rises with v, so the laws with p' = theta have the largest.

    Args:
        region: what is ordered as high as the outcome.
        theta: the p' in question.
        alpha: error probability.

    Returns:
        (whether it is, a, b): else where it is more, or the search stopped.
    """
    cells = np.empty((_STACK, 4))
    cells[0] = np.array([0.0, theta, 0.0, 1 - theta])
    left = 1
    for _ in range(_MOST_CELLS):
        if left == 0:
            return True, 0.0, 0.0
        left -= 1
        cell = cells[left].copy()
        a, b = 0.5 * (cell[0] + cell[1]), 0.5 * (cell[2] + cell[3])
        if not (cell[0] < a < cell[1] and cell[2] < b < cell[3] and a + b < 1):
            return False, a, b
        excess, i, j = _parts(region[0], theta, cell, np.inf)
        if excess > _FAR:
            if _on_edge(region, theta, cell, alpha) <= alpha:
                continue
        else:
            here = _at(region, theta, a, b, _CUT * alpha)
            if here > alpha:
                return False, a, b
            room = np.log(alpha / here)
            if excess > _TRIED * room:
                _, i, j = _parts(region[0], theta, cell, room)
            elif _shown(region, theta, cell, alpha, excess):
                continue
        if left + i * j > _STACK:
            return False, a, b
        left = _divide(cells, left, cell, i, j)
    return False, 0.0, 0.0


@njit(error_model="numpy")
def _parts(counts, theta, cell, room):
    """(excess, i, j): by how much the tangents' bound is above the chance, about, in logarithms.

    And the numbers of parts of a and b, two or more in all, for which it is at most `room`.
    """
    n, mw, ml = counts[:3]
    da, db = 0.5 * (cell[1] - cell[0]), 0.5 * (cell[3] - cell[2])
    a, b = cell[0] + da, cell[2] + db
    p = a + b
    votes = max(0, n - mw - ml) / (p * (1 - p))
    by_a = mw / (a * p) + ml / ((theta - a) * (1 - p))
    by_b = mw / (b * p) + ml / ((1 - theta - b) * (1 - p))
    i, j, whole = 1, 1, 0.0
    while True:
        of_a, of_b = da / i, db / j
        excess = 0.5 * (by_a * of_a**2 + by_b * of_b**2 + votes * (of_a + of_b) ** 2)
        if i * j == 1:
            whole = excess  # and at least in two
        elif excess <= room or i * j >= _MOST_PARTS:
            return whole, i, j
        if (by_a + votes) * of_a * of_a >= (by_b + votes) * of_b * of_b:
            i += 1
        else:
            j += 1


@njit(error_model="numpy")
def _divide(cells, left, cell, i, j):
    """Put i by j parts of a cell on the stack; the result is its new height."""
    for at_a in range(i):
        for at_b in range(j):
            a, b = (cell[1] - cell[0]) / i, (cell[3] - cell[2]) / j
            cells[left, 0] = cell[0] + at_a * a
            cells[left, 1] = cell[0] + (at_a + 1) * a if at_a + 1 < i else cell[1]
            cells[left, 2] = cell[2] + at_b * b
            cells[left, 3] = cell[2] + (at_b + 1) * b if at_b + 1 < j else cell[3]
            left += 1
    return left


solve: Any = _solve
holds: Any = _holds
