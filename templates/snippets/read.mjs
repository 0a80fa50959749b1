const url = "http://127.0.0.1:7480/v1/kv/bucket/key";
const headers = { Authorization: `Bearer ${process.env.RINGFORT_TOKEN}` };

const answer = await fetch(url, { headers });
console.log(answer.status, await answer.text());
