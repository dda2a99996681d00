"""Waits for a datagram, upper-cases it, sends it back to where it came from, for ever."""
import socket
import sys

port = int(sys.argv[1]) if len(sys.argv) > 1 else 12000

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", port))
print("udp server on port", server.getsockname()[1], flush=True)

while True:
    message, client_address = server.recvfrom(2048)
    answer = message.decode().upper()
    server.sendto(answer.encode(), client_address)
