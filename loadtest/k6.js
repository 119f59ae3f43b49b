// Asks iris and digits over HTTP with JSON, one after the other, and fails if any answer is wrong.
//
// What is held is correctness: no failed request, and in each answer as many rows as were asked
// for, in their order. Latency is printed, not judged: it belongs to the machine.
//
//   TIDEGATE_HTTP   address of the server, on this machine (127.0.0.1:8000)
//   DURATION_S      how long each model is asked (15, at most 120)
//   CLIENTS         how many ask at once (16, at most 256)
//   REPORT          file for all the numbers, as JSON (none)

import http from "k6/http";
import { check } from "k6";

const ADDRESS = __ENV.TIDEGATE_HTTP || "127.0.0.1:8000";
const DURATION_S = Math.min(Number(__ENV.DURATION_S || 15), 120);
const CLIENTS = Math.min(Number(__ENV.CLIENTS || 16), 256);

if (!/^(127(\.\d+){3}|localhost|\[::1\]):\d+$/.test(ADDRESS)) {
  throw new Error(`TIDEGATE_HTTP is ${ADDRESS}: only a server on this machine may be put under load`);
}

const asking = (exec, startTime) => ({
  executor: "constant-vus",
  exec,
  startTime: `${startTime}s`,
  vus: CLIENTS,
  duration: `${DURATION_S}s`,
  gracefulStop: "5s",
});

export const options = {
  scenarios: {
    iris: asking("iris", 0),
    digits: asking("digits", DURATION_S + 1),
  },
  thresholds: {
    http_req_failed: ["rate==0"],
    checks: ["rate==1"],
    // These cannot fail: they make k6 keep the numbers of each model apart.
    "http_req_duration{scenario:iris}": ["max>=0"],
    "http_req_duration{scenario:digits}": ["max>=0"],
    "http_reqs{scenario:iris}": ["count>=0"],
    "http_reqs{scenario:digits}": ["count>=0"],
  },
  summaryTrendStats: ["p(50)", "p(95)", "p(99)", "max"],
};

// One flower of each kind that no sound model confuses: setosa, versicolor, virginica.
const FLOWERS = [
  [5.0, 3.4, 1.5, 0.2],
  [5.8, 2.7, 4.1, 1.0],
  [6.3, 3.3, 6.0, 2.5],
];

// A zero, as scikit-learn's digits has it: 8 x 8 pixels from 0 to 16.
const ZERO = [
  0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0, 0, 3, 15, 2, 0, 11, 8, 0, 0, 4, 12, 0, 0, 8,
  8, 0, 0, 5, 8, 0, 0, 9, 8, 0, 0, 4, 11, 0, 1, 12, 7, 0, 0, 2, 14, 5, 10, 12, 0, 0, 0, 0, 6, 13,
  10, 0, 0, 0,
];

// Every client sends rows of its own, so that a mixed-up answer is seen.
export function iris() {
  const rows = 1 + (__ITER % 4);
  const kinds = Array.from({ length: rows }, (_, row) => (__VU + __ITER + row) % FLOWERS.length);
  const outputs = infer("iris", "input", [rows, 4], kinds.flatMap((kind) => FLOWERS[kind]));
  check(outputs, {
    "iris: a label for each row, in order": ({ label }) =>
      label !== undefined && String(label.data) === String(kinds),
    "iris: three probabilities for each row": ({ probabilities }) =>
      probabilities !== undefined && String(probabilities.shape) === String([rows, 3]),
  });
}

export function digits() {
  const rows = 1 + (__ITER % 4);
  const pixels = Array.from({ length: rows }, () => ZERO).flat();
  const outputs = infer("digits", "image", [rows, 1, 8, 8], pixels);
  check(outputs, {
    "digits: each image is a zero": ({ label }) =>
      label !== undefined && label.data.length === rows && label.data.every((digit) => digit === 0),
  });
}

// infer returns the outputs by name; none if the server said no.
function infer(model, name, shape, data) {
  const answer = http.post(
    `http://${ADDRESS}/v2/models/${model}/infer`,
    JSON.stringify({ inputs: [{ name, shape, datatype: "FP32", data }] }),
    { headers: { "content-type": "application/json" }, tags: { name: model }, timeout: "10s" },
  );
  if (answer.status !== 200) {
    return {};
  }
  return Object.fromEntries(answer.json("outputs").map((output) => [output.name, output]));
}

// handleSummary prints one line a model, in the words of the results table, and what went wrong.
export function handleSummary({ metrics, root_group: root }) {
  const lines = ["iris", "digits"].map((model) => {
    const count = metrics[`http_reqs{scenario:${model}}`].values.count;
    const ms = metrics[`http_req_duration{scenario:${model}}`].values;
    const latency = ["p(50)", "p(95)", "p(99)", "max"]
      .map((share) => `${share.replace(/[()]/g, "")} ${ms[share].toFixed(2)}`)
      .join(", ");
    const rate = (count / DURATION_S).toFixed(0);
    return `${model}: requests ${count} in ${DURATION_S} s, ${rate}/s; latency ms: ${latency}`;
  });
  const { passes } = metrics.http_req_failed.values;
  if (passes > 0) {
    lines.push(`FAILED: ${passes} requests without a good answer`);
  }
  for (const { name, fails } of root.checks.filter(({ fails }) => fails > 0)) {
    lines.push(`FAILED: ${name}: ${fails} times`);
  }
  const summary = { stdout: `${lines.join("\n")}\n` };
  if (__ENV.REPORT) {
    summary[__ENV.REPORT] = JSON.stringify(metrics, null, 2);
  }
  return summary;
}
