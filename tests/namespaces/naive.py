"""An upper-case echo over UDP as a textbook has it: it answers everybody. It ends when it has been quiet for a while."""
import socket
import sys

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
received = 0
server.settimeout(30)
try:
    while True:
        message, client = server.recvfrom(2048)
        if message == b"BYE":
            break
        received += 1
        server.sendto(message.upper(), client)
finally:
    print(received, flush=True)
