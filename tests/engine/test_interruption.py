import os
import signal
import threading

import pytest

from dsb2018.engine.interruption import Interrupted, StopSignal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_remembered_and_the_handlers_come_back(number, caplog):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    stop = StopSignal()
    with stop.watched():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)  # launchers repeat it
        assert stop.received == number
    assert "a checkpoint is written after this iteration" in caplog.text
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def give_up(number):
    raise Interrupted(number)


def test_long_work_is_broken_off():
    stop = StopSignal()
    with stop.watched():
        with (
            pytest.raises(Interrupted, match="stopped by SIGTERM") as caught,
            stop.calling(give_up),
        ):
            os.kill(os.getpid(), signal.SIGTERM)
        assert caught.value.exit_status == 143
        with pytest.raises(Interrupted), stop.calling(give_up):
            pytest.fail("nothing long is begun any more")
    assert not isinstance(caught.value, Exception)  # no `except Exception` takes it for an error


def test_outside_of_the_main_thread_signals_are_left_alone():
    handlers = []

    def watch():
        with StopSignal().watched():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
