// Asks iris over HTTP with Node's own fetch (18 or newer): node infer_http.js [HOST:PORT]

const address = process.argv[2] ?? "127.0.0.1:8000";

const response = await fetch(`http://${address}/v2/models/iris/infer`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({
    inputs: [{ name: "input", datatype: "FP32", shape: [1, 4], data: [4.9, 2.5, 4.5, 1.7] }],
    outputs: [{ name: "label" }], // without them, all come
  }),
  signal: AbortSignal.timeout(10_000),
});
if (!response.ok) {
  throw new Error(`${response.status}: ${await response.text()}`);
}

// JSON numbers are doubles here: an INT64 beyond 2^53 needs binary data, or gRPC.
const { model_version: version, outputs } = await response.json();
console.log(`iris version ${version} says ${outputs[0].data[0]}`);
