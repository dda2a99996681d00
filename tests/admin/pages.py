"""Reads every page of the admin endpoint with Python's own HTTP clients: python3 pages.py PORT"""

import http.client
import sys
import urllib.error
import urllib.request

port = int(sys.argv[1])
url = f"http://127.0.0.1:{port}"

for page, wanted in [("/healthz", b"ok\n"), ("/readyz", b"ready\n")]:
    with urllib.request.urlopen(url + page, timeout=30) as answer:
        assert (answer.status, answer.read()) == (200, wanted), page

request = urllib.request.Request(url + "/metrics", headers={"Accept": "application/openmetrics-text"})
with urllib.request.urlopen(request, timeout=30) as answer:
    assert answer.headers.get_content_type() == "application/openmetrics-text"
    assert answer.headers.get_param("version") == "1.0.0"
    assert answer.read().endswith(b"\n# EOF\n")

try:
    urllib.request.urlopen(url + "/nothing", timeout=30)
    raise AssertionError("there is no such page")
except urllib.error.HTTPError as error:
    assert error.code == 404

for method, path, wanted, has_body in [
    ("HEAD", "/metrics", 200, False),
    ("GET", "/metrics", 200, True),
    ("POST", "/metrics", 405, True),
    ("DELETE", "/healthz", 405, True),
]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body=b"a body" if method == "POST" else None)
    answer = connection.getresponse()
    body = answer.read()
    assert (answer.status, len(body) > 0) == (wanted, has_body), (method, path, answer.status, body)
    assert answer.will_close
    connection.close()

print("every page as it should be")
