"""Do slow things ahead of time in threads and hand the results over in order, so that the outcome is the same as one by one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def ordered_map(work: Callable[[Item], Made], items: Iterable[Item], num_threads: int, num_ahead: int) -> Iterator[Made]:
    """`work(item)` for every item, in the items' order, at most `num_ahead` of them in the air.

    The first exception of `work` or of `items` is raised where its result would have come.
    """
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= num_ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
