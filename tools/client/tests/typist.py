"""Types to a program on a terminal of its own, and tells what it saw.

    typist.py PROGRAM [ARGUMENT...] < STEPS

A step is one line: `expect TEXT` waits until the program has printed the text after what was expected before,
`send TEXT` types it, `signal NUMBER` sends a signal, `stdout FILE` (first line only) gives the program a file instead
of the terminal. TEXT may hold Python's escapes, such as \\r and \\x04. At the end, stdout has all that the terminal
showed, then a line `exit CODE`, then `echo on` or `echo off`: how the program left the terminal.
"""
import fcntl
import os
import pty
import signal
import struct
import sys
import termios

PATIENCE = 60  # seconds; a program that has not ended by then hangs

shown = b""
signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"hangs after {shown!r}"))
signal.alarm(PATIENCE)

steps = [line.rstrip("\n").split(" ", 1) for line in sys.stdin]
stdout = steps.pop(0)[1] if steps[0][0] == "stdout" else None

child, terminal = pty.fork()
if child == 0:
    # The parent's alarm is inherited neither by the child nor over execv; the window has to have a size.
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
    if stdout:
        os.dup2(os.open(stdout, os.O_WRONLY | os.O_CREAT, 0o600), 1)
    os.execv(sys.argv[1], sys.argv[1:])


def read_more():
    """Adds to what is shown; false once the program has closed the terminal."""
    global shown
    try:
        piece = os.read(terminal, 65536)
    except OSError:  # how Linux tells it
        piece = b""
    shown += piece
    return bool(piece)


def bytes_of(text):
    return text.encode().decode("unicode_escape").encode("latin-1")


seen = 0
for verb, text in steps:
    if verb == "expect":
        while (at := shown.find(bytes_of(text), seen)) < 0:
            if not read_more():
                sys.exit(f"ended before {text!r}, after {shown!r}")
        seen = at + len(bytes_of(text))
    elif verb == "send":
        os.write(terminal, bytes_of(text))
    elif verb == "signal":
        os.kill(child, int(text))
    else:
        sys.exit(f"unknown step {verb!r}")

while read_more():
    pass
status = os.waitpid(child, 0)[1]
echo = "on" if termios.tcgetattr(terminal)[3] & termios.ECHO else "off"
sys.stdout.buffer.write(shown)
print(f"\nexit {os.waitstatus_to_exitcode(status)}\necho {echo}")
