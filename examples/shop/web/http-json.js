// One HTTP call with a JSON body and a JSON answer, over kept connections.

import http from "node:http";

const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

/** Resolves to { status, body }; rejects when there is no whole answer within `timeoutMs`. */
export function callJson(method, url, { body, timeoutMs }) {
  return new Promise((resolve, reject) => {
    const payload = body === undefined ? "" : JSON.stringify(body);
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(payload) };
    const request = http.request(url, { method, headers, agent, signal: AbortSignal.timeout(timeoutMs) }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        try {
          resolve({ status: response.statusCode, body: JSON.parse(Buffer.concat(chunks).toString()) });
        } catch {
          reject(new Error(`${method} ${url}: ${response.statusCode} with a body that is not JSON`));
        }
      });
    });
    request.on("error", reject);
    request.end(payload);
  });
}
