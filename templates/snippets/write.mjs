const url = "http://127.0.0.1:7480/v1/kv/bucket/key";
const headers = { Authorization: `Bearer ${process.env.RINGFORT_TOKEN}` };

// What is replaced is what was read: a write in between stays beside it.
const before = await fetch(url, { headers });
const context = before.headers.get("Ringfort-Context");
if (context) headers["Ringfort-Context"] = context;

headers["Content-Type"] = "application/json";
const body = JSON.stringify({ hello: "world" });
const receipt = await fetch(url, { method: "PUT", headers, body });
console.log(receipt.status, await receipt.text());
