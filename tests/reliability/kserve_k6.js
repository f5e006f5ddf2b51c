// A minute of the Open Inference Protocol over HTTP, by k6: metadata, a tensor as binary data, a tensor as JSON.
// kserve_k6.py runs it and says what must come out.

import { check } from "k6";
import http from "k6/http";

const server = `http://${__ENV.SERVER}/v2`;
const model = `${server}/models/${__ENV.MODEL}`;
const binary = open(__ENV.BINARY, "b");
const json = open(__ENV.JSON);
const length = "Inference-Header-Content-Length";

export const options = { vus: Number(__ENV.CALLERS), duration: `${__ENV.SECONDS}s`, thresholds: { checks: ["rate==1"] } };

export default function () {
  const metadata = http.get(model);
  check(metadata, { "metadata": (reply) => reply.status === 200 && reply.json("inputs.0.name") === "image" });

  const raw = http.post(`${model}/infer`, binary, { headers: { [length]: __ENV.LENGTH }, responseType: "binary" });
  check(raw, {
    "binary data": (reply) => reply.status === 200 &&
      reply.body.byteLength === Number(reply.headers[length]) + Number(__ENV.BYTES),
  });

  const typed = http.post(`${model}/infer`, json);
  check(typed, { "json": (reply) => reply.status === 200 && reply.json("outputs.0.data").length === Number(__ENV.VALUES) });
}
