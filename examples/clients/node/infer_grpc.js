// Asks iris over gRPC, after `npm ci`: node infer_grpc.js [HOST:PORT]

import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const address = process.argv[2] ?? "127.0.0.1:8001";

// Copy both files of proto/ along with this one; names become camelCase.
const file = fileURLToPath(new URL("../../../proto/inference.proto", import.meta.url));
const { inference } = grpc.loadPackageDefinition(loadSync(file));

// Keep one client for many requests: they share its connection.
const client = new inference.GRPCInferenceService(address, grpc.credentials.createInsecure());
const infer = promisify(client.modelInfer).bind(client);

const answer = await infer(
  {
    modelName: "iris",
    inputs: [
      {
        name: "input",
        datatype: "FP32",
        shape: [1, 4],
        contents: { fp32Contents: [4.9, 2.5, 4.5, 1.7] },
      },
    ],
    outputs: [{ name: "label" }], // without them, all come
  },
  { deadline: Date.now() + 10_000 },
);
client.close();

// Answers are raw: one Buffer per output, in their order, little-endian. INT64 is a BigInt.
const label = answer.rawOutputContents[0].readBigInt64LE();
console.log(`iris version ${answer.modelVersion} says ${label}`);
