"""A client of server-sent events, with nothing but Python's own library: says each line as it comes.

python3 client.py URL CA TOKEN"""

import ssl
import sys
import urllib.error
import urllib.request

url, authority, token = sys.argv[1:]
headers = {"Accept": "text/event-stream"}
if token:
    headers["Authorization"] = "Bearer " + token
trusted = ssl.create_default_context(cafile=authority)
request = urllib.request.Request(url, headers=headers)
try:
    answer = urllib.request.urlopen(request, context=trusted, timeout=20)
except urllib.error.HTTPError as refusal:
    print(refusal.read().decode(), flush=True)
    sys.exit(1)
assert answer.headers["Content-Type"] == "text/event-stream"
while line := answer.readline():
    print(line.decode().rstrip("\n"), flush=True)
