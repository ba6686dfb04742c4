# SPDX-License-Identifier: Apache-2.0
"""What Python's multiprocessing costs; run by bench-python, which says what to measure.

python.py CASE N CPU0 CPU1 prints the time of each of N trips in ns, one a line. Processes
are started afresh, as managers do by default outside of Linux, and pinned.
"""
import multiprocessing
import multiprocessing.managers
import multiprocessing.shared_memory
import os
import sys
import time

MIB = 1 << 20
WORD = 8


class Counter:
    """The object behind the proxy."""

    def __init__(self):
        self.value = 0

    def add(self, n):
        self.value += n
        return self.value


class Manager(multiprocessing.managers.BaseManager):
    pass


Manager.register("Counter", Counter)


def pinned(cpu):
    os.sched_setaffinity(0, {cpu})


def trips(n, one):
    """Times one(i) n times, after a tenth of it to warm up."""
    for i in range(n // 10 + 1):
        one(i)
    times = []
    for i in range(n):
        begin = time.perf_counter_ns()
        one(i)
        times.append(time.perf_counter_ns() - begin)
    return times


def call(n, cpu0, cpu1):
    """A method call by proxy: both sides sleep in the system."""
    with_manager = Manager(ctx=multiprocessing.get_context("spawn"))
    with_manager.start(pinned, (cpu1,))
    pinned(cpu0)
    counter = with_manager.Counter()
    before = counter.add(0)
    times = trips(n, lambda i: counter.add(1))
    if counter.add(0) - before != n + n // 10 + 1:
        raise RuntimeError("calls were lost")
    with_manager.shutdown()
    return times


def create(n, cpu0, cpu1):
    """An object made and deleted by a manager."""
    with_manager = Manager(ctx=multiprocessing.get_context("spawn"))
    with_manager.start(pinned, (cpu1,))
    pinned(cpu0)

    def one(_):
        counter = with_manager.Counter()
        del counter

    times = trips(n, one)
    with_manager.shutdown()
    return times


def touch(n, cpu0, _):
    """A segment of 1 MiB made, filled and removed."""
    pinned(cpu0)
    ones = b"\1" * MIB

    def one(_):
        segment = multiprocessing.shared_memory.SharedMemory(create=True, size=MIB)
        segment.buf[:MIB] = ones
        segment.close()
        segment.unlink()

    return trips(n, one)


def other_side(end, cpu, read_all):
    """Opens each segment by the name that comes, reads, answers."""
    pinned(cpu)
    while True:
        name = end.recv()
        if not name:
            return
        segment = multiprocessing.shared_memory.SharedMemory(name)
        number = int.from_bytes(segment.buf[:WORD], "little")
        if read_all:
            bytes(segment.buf)
        segment.close()
        end.send(number)


def by_name(n, cpu0, cpu1, read_all):
    """A segment that exists is handed over by its name and a pipe, and an answer comes."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    other = context.Process(target=other_side, args=(theirs, cpu1, read_all))
    other.start()
    pinned(cpu0)
    segment = multiprocessing.shared_memory.SharedMemory(create=True, size=MIB)

    def one(i):
        segment.buf[:WORD] = i.to_bytes(WORD, "little")
        mine.send(segment.name)
        if mine.recv() != i:
            raise RuntimeError("another answer came than the one that is due")

    try:
        return trips(n, one)
    finally:
        mine.send("")
        other.join()
        segment.close()
        segment.unlink()


CASES = {
    "call": call,
    "create": create,
    "touch": touch,
    "byte": lambda n, a, b: by_name(n, a, b, False),
    "all": lambda n, a, b: by_name(n, a, b, True),
}


def main():
    case, n, cpu0, cpu1 = sys.argv[1], *map(int, sys.argv[2:5])
    print("\n".join(map(str, CASES[case](n, cpu0, cpu1))))


if __name__ == "__main__":
    main()
