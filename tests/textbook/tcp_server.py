"""Takes one connection after the other; on each, reads once, answers in upper case, and closes."""
import socket
import sys

port = int(sys.argv[1]) if len(sys.argv) > 1 else 12000

listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.bind(("127.0.0.1", port))
listener.listen(1)
print("tcp server on port", listener.getsockname()[1], flush=True)

while True:
    connection, client_address = listener.accept()
    sentence = connection.recv(1024).decode()
    connection.send(sentence.upper().encode())
    connection.close()
