"""Fetches batches in threads while the device computes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Fetched = TypeVar("Fetched")


def prefetch(
    items: Iterable[Item], fetch: Callable[[Item], Fetched], workers: int
) -> Iterator[Fetched]:
    """Yield ``fetch(item)`` for every item, in order.

    Threads, not processes: whole uint8 batches are copied or decoded by code that releases the
    global interpreter lock, and threads share one cache and one memory.

    Args:
        items: what to fetch.
        fetch: called in a thread; its exceptions are raised when the batch is requested.
        workers: number of threads, each at most two batches ahead; 0 fetches on request.

    >>> list(prefetch([1, 2, 3], lambda n: n * 10, workers=2))
    [10, 20, 30]
    """
    if not workers:
        yield from map(fetch, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="dakd-fetch") as pool:
        waiting: deque[Future[Fetched]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(fetch, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
