import threading

from dsb2018.inference.byte_budget import ByteBudget


def acquire_in_thread(budget: ByteBudget, size: int) -> threading.Thread:
    thread = threading.Thread(target=budget.acquire, args=(size,), daemon=True)
    thread.start()
    return thread


def has_ended(thread: threading.Thread, seconds: float) -> bool:
    thread.join(seconds)
    return not thread.is_alive()


def test_acquire_waits_for_free_bytes():
    budget = ByteBudget(100)
    budget.acquire(60)
    budget.acquire(40)
    waiting = acquire_in_thread(budget, 50)
    assert not has_ended(waiting, 0.1)
    with budget.released_after(40):
        pass
    assert not has_ended(waiting, 0.1)
    with budget.released_after(60):
        pass
    assert has_ended(waiting, 5)


def test_a_single_item_may_exceed_the_limit():
    budget = ByteBudget(100)
    budget.acquire(500)
    waiting = acquire_in_thread(budget, 1)
    assert not has_ended(waiting, 0.1)
    with budget.released_after(500):
        pass
    assert has_ended(waiting, 5)


def test_close_ends_waiting():
    budget = ByteBudget(100)
    budget.acquire(100)
    waiting = acquire_in_thread(budget, 100)
    budget.close()
    assert has_ended(waiting, 5)
