// What the shop sells: a gRPC client of catalog.

import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const DEADLINE_MS = 2000;
const definition = loadSync(fileURLToPath(new URL("./catalog.proto", import.meta.url)), { keepCase: true });
const { Catalog } = grpc.loadPackageDefinition(definition).shop.catalog.v1;

/** A client of the catalog at `host:port`; its calls reject with a gRPC error after two seconds. */
export function connectCatalog(address) {
  const client = new Catalog(address, grpc.credentials.createInsecure(), {
    "grpc.initial_reconnect_backoff_ms": 50, // a callee on the same machine is back sooner than a second
    "grpc.max_reconnect_backoff_ms": 500,
  });
  const call = (method, request) =>
    new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + DEADLINE_MS };
      client[method](request, options, (problem, answer) => (problem ? reject(problem) : resolve(answer)));
    });
  return {
    products: async () => (await call("ListProducts", {})).products,
    /** The product, or null when nothing is sold under that sku. */
    product: (sku) =>
      call("GetProduct", { sku }).catch((problem) => {
        if (problem.code === grpc.status.NOT_FOUND) return null;
        throw problem;
      }),
    close: () => client.close(),
  };
}
