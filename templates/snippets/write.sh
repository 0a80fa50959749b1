# What is replaced is what was read: a write in between stays beside it.
context=$(curl -sS -o /dev/null -w '%header{ringfort-context}' \
  -H "Authorization: Bearer $RINGFORT_TOKEN" 'http://127.0.0.1:7480/v1/kv/bucket/key')
curl -sS -X PUT -H "Authorization: Bearer $RINGFORT_TOKEN" -H "Ringfort-Context: $context" \
  -H 'Content-Type: application/json' --data-binary '{"hello": "world"}' \
  'http://127.0.0.1:7480/v1/kv/bucket/key'
