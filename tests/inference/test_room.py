import threading

from dsb2018.inference.room import Room


def take_in_a_thread(room: Room, size: int) -> threading.Thread:
    thread = threading.Thread(target=room.take, args=(size,), daemon=True)
    thread.start()
    return thread


def has_ended(thread: threading.Thread, seconds: float) -> bool:
    thread.join(seconds)
    return not thread.is_alive()


def test_waits_for_room():
    room = Room(100)
    room.take(60)
    room.take(40)
    waiting = take_in_a_thread(room, 50)
    assert not has_ended(waiting, 0.1)
    with room.left_by(40):
        pass
    assert not has_ended(waiting, 0.1)
    with room.left_by(60):
        pass
    assert has_ended(waiting, 5)


def test_one_that_is_larger_than_all_room_is_alone():
    room = Room(100)
    room.take(500)
    waiting = take_in_a_thread(room, 1)
    assert not has_ended(waiting, 0.1)
    with room.left_by(500):
        pass
    assert has_ended(waiting, 5)


def test_nobody_waits_at_the_end():
    room = Room(100)
    room.take(100)
    waiting = take_in_a_thread(room, 100)
    room.close()
    assert has_ended(waiting, 5)
