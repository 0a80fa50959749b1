curl -sS -H "Authorization: Bearer $RINGFORT_TOKEN" 'http://127.0.0.1:7480/v1/kv/bucket/key'
