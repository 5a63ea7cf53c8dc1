import threading

import pytest

from dakd.data.prefetch import prefetch


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_everything_comes_once_and_in_order(workers):
    assert list(prefetch(range(20), lambda n: n * n, workers)) == [n * n for n in range(20)]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_raised_where_its_batch_is_asked_for(workers):
    batches = prefetch(range(9), lambda n: 1 // (3 - n), workers)
    assert [next(batches) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(batches)


def test_threads_run_ahead_but_not_far():
    asked, first = [], threading.Event()

    def items():
        for n in range(100):
            asked.append(n)
            yield n

    batches = prefetch(items(), lambda n: first.set() or n, workers=2)
    assert next(batches) == 0
    assert first.is_set()
    assert len(asked) == 5
    batches.close()


def test_without_workers_the_calling_thread_fetches():
    threads = set(prefetch(range(3), lambda n: threading.current_thread().name, 0))
    assert threads == {threading.current_thread().name}
    ours = set(prefetch(range(3), lambda n: threading.current_thread().name, 2))
    assert all(name.startswith("dakd-fetch") for name in ours)
