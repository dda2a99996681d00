"""Asks for a sentence, sends it over a connection, prints what one read brings back."""
import socket
import sys

port = int(sys.argv[1]) if len(sys.argv) > 1 else 12000

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect(("127.0.0.1", port))
sentence = input("A sentence in lower case: ")
client.send(sentence.encode())
answer = client.recv(1024)
print(answer.decode())
client.close()
