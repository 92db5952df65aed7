"""Kinds whose cases do not end as a command does; another process has to be able to import them."""

import os
import signal
import time

from tests.fuzz.case import Case


def hang_in_c_code(folder, r):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGALRM, signal.SIGTERM})
    return Case(call=lambda: time.sleep(1000))


def die(folder, r):
    return Case(call=lambda: os._exit(7))
