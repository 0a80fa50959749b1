import os
import urllib.error
import urllib.request

url = "http://127.0.0.1:7480/v1/kv/bucket/key"
headers = {"Authorization": "Bearer " + os.environ["RINGFORT_TOKEN"]}
try:
    answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers))
except urllib.error.HTTPError as other:  # 404: no value; 300: several, as JSON
    answer = other
print(answer.status, answer.read().decode(errors="replace"))
