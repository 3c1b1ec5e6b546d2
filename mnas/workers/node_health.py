"""Which nodes lose one worker after another, and are left out for a while; knows nothing of Ray."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable

# A node is left out after so many losses in a row for each of its workers; later, one for each is enough.
ROUNDS_OF_LOSSES = 3
# How long it is left out; twice as long each time, until it trains a child again.
REST_S, MAX_REST_S = 600.0, 4 * 3600.0


class NodeHealth:
    """The losses of each node; not safe to share between threads. It reads no clock."""

    def __init__(self) -> None:
        self._row: defaultdict[str, list[Hashable]] = defaultdict(list)
        self._works: set[str] = set()
        self._rests: Counter[str] = Counter()
        self._out_until_s: dict[str, float] = {}

    def record_success(self, node: str) -> None:
        """Record that a node has trained a child."""
        self._works.add(node)
        self._row.pop(node, None)
        self._rests.pop(node, None)

    def record_loss(self, node: str, child: Hashable, workers: int, now_s: float) -> float | None:
        """Record that a node has lost a worker.

        A child that kills its workers is not the fault of the node: a node is left out only if several children are
        among its losses.

        Args:
            node: Where the worker was.
            child: What it trained; something unique if it did not start.
            workers: How many workers the node has.
            now_s: The time in seconds.

        Returns:
            For how many seconds the node is left out from now on; None if it is not, or was already.
        """
        if now_s < self._out_until_s.get(node, now_s):
            return None
        row = self._row[node]
        row.append(child)
        rounds = 1 if self._rests[node] else ROUNDS_OF_LOSSES
        if len(row) < rounds * max(workers, 1) or len(set(row)) < min(2, len(row)):
            return None
        rest_s = min(REST_S * 2.0 ** self._rests[node], MAX_REST_S)
        self._rests[node] += 1
        self._row.pop(node)
        self._out_until_s[node] = now_s + rest_s
        return rest_s

    def left_out(self, nodes: Collection[str], now_s: float) -> set[str]:
        """Return which of the nodes are left out now: never all of them."""
        out = {node for node in nodes if now_s < self._out_until_s.get(node, now_s)}
        return out if len(out) < len(nodes) else set()

    def vouches_against(self, child: Hashable, nodes: Iterable[str]) -> bool:
        """Return whether each of the nodes has trained other children, and has lost this one only since."""
        return all(node in self._works and set(self._row.get(node, ())) <= {child} for node in nodes)
