"""Asks for a sentence, sends it as one datagram, prints the datagram that comes back."""
import socket
import sys

port = int(sys.argv[1]) if len(sys.argv) > 1 else 12000

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sentence = input("A sentence in lower case: ")
client.sendto(sentence.encode(), ("127.0.0.1", port))
answer, server_address = client.recvfrom(2048)
print(answer.decode())
client.close()
