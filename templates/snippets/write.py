import os
import urllib.error
import urllib.request

url = "http://127.0.0.1:7480/v1/kv/bucket/key"
headers = {"Authorization": "Bearer " + os.environ["RINGFORT_TOKEN"]}

# What is replaced is what was read: a write in between stays beside it.
try:
    before = urllib.request.urlopen(urllib.request.Request(url, headers=headers))
except urllib.error.HTTPError as other:  # 404: no value; 300: several, as JSON
    before = other
if before.headers["Ringfort-Context"]:
    headers["Ringfort-Context"] = before.headers["Ringfort-Context"]

headers["Content-Type"] = "application/json"
body = b'{"hello": "world"}'
request = urllib.request.Request(url, data=body, headers=headers, method="PUT")
with urllib.request.urlopen(request) as receipt:
    print(receipt.status, receipt.read().decode())
