import os
import signal
import threading

import pytest

from dsb2018.engine.interruption import Interrupted, StopSignal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_is_recorded_and_handlers_are_restored(number, caplog):
    handlers = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    stop = StopSignal()
    with stop.watched():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)  # launchers forward it a second time
        assert stop.received == number
    assert "the training stops after this iteration and saves a checkpoint" in caplog.text
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == handlers


def raise_interrupted(number):
    raise Interrupted(number)


def test_signal_interrupts_long_work():
    stop = StopSignal()
    with stop.watched():
        with (
            pytest.raises(Interrupted, match="stopped by SIGTERM") as caught,
            stop.calling(raise_interrupted),
        ):
            os.kill(os.getpid(), signal.SIGTERM)
        assert caught.value.exit_status == 143
        with pytest.raises(Interrupted), stop.calling(raise_interrupted):
            pytest.fail("no long work may start after the signal")
    assert not isinstance(caught.value, Exception)  # `except Exception` must not catch it


def test_signal_handlers_are_unchanged_in_other_threads():
    handlers = []

    def watch():
        with StopSignal().watched():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
