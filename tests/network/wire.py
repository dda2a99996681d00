"""A bad wire between two network namespaces: it loses, doubles, delays and so reorders packets, by a seeded chance.

usage: wire.py HERE THERE LOSS DOUBLING DELAY_MS JITTER_MS SEED

HERE gets 10.77.0.1 and THERE 10.77.0.2 on `wire`. Prints `ready` when the wire is up. At the end of standard input it
delivers what is still under way and prints, for each direction, the UDP datagrams it was given, lost and doubled.
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
UDP = 17
LIBC = ctypes.CDLL(None, use_errno=True)


def enter(path):
    with open(path) as namespace:
        if LIBC.setns(namespace.fileno(), 0) != 0:
            sys.exit(os.strerror(ctypes.get_errno()))


def end_of_wire(namespace, address):
    """A TUN device inside the namespace. Its descriptor works from everywhere."""
    with open("/proc/self/ns/net") as home:
        enter("/var/run/netns/" + namespace)
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", b"wire", IFF_TUN | IFF_NO_PI))
        LIBC.setns(home.fileno(), 0)
    for command in ("addr add %s/24 dev wire" % address, "link set wire mtu 1280 txqueuelen 10000", "link set wire up"):
        subprocess.check_call(["ip", "-n", namespace] + command.split())
    return device


def main():
    here, there = sys.argv[1:3]
    loss, doubling, delay, jitter = (float(word) for word in sys.argv[3:7])
    chance = random.Random(int(sys.argv[7]))
    ends = [end_of_wire(here, "10.77.0.1"), end_of_wire(there, "10.77.0.2")]
    tally = [[0, 0, 0], [0, 0, 0]]
    under_way, number, ending = [], 0, False
    print("ready", flush=True)
    while not ending or under_way:
        wait = max(0, under_way[0][0] - time.monotonic()) if under_way else None
        readable = select.select(ends + ([] if ending else [0]), [], [], wait)[0]
        if 0 in readable:
            ending = not os.read(0, 64)
        for end in readable:
            if end == 0:
                continue
            side = ends.index(end)
            while True:
                try:
                    packet = os.read(end, 65536)
                except BlockingIOError:
                    break
                is_udp = packet[0] >> 4 == 4 and packet[9] == UDP
                draw = chance.random()
                copies = 0 if draw < loss else 2 if draw < loss + doubling else 1
                if is_udp:
                    tally[side][0] += 1
                    tally[side][1] += copies == 0
                    tally[side][2] += copies == 2
                for _ in range(copies):
                    number += 1
                    due = time.monotonic() + (delay + chance.random() * jitter) / 1000
                    heapq.heappush(under_way, (due, number, ends[1 - side], packet))
        while under_way and under_way[0][0] <= time.monotonic():
            os.write(*heapq.heappop(under_way)[2:])
    for given, lost, doubled in tally:
        print(given, lost, doubled, flush=True)


main()
