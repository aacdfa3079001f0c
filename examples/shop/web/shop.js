// The shop's front page: shows what catalog has, takes an order, has it paid, hands it to orders.

import { randomUUID } from "node:crypto";
import { callJson } from "./http-json.js";
import { problemPage, shopPage, thanksPage } from "./pages.js";

const MAX_FORM_BYTES = 10_000;

class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function formOf(request) {
  let text = "";
  for await (const chunk of request) {
    text += chunk;
    if (text.length > MAX_FORM_BYTES) throw new Refused(413, "That form is too long.");
  }
  return new URLSearchParams(text);
}

/** The shop as a request handler, given where its callees are. */
export function shop({ catalog, ordersUrl, paymentsUrl, recommendationsUrl, shippingUrl }) {
  // The shop can do without some of its callees: whatever goes wrong with one of them, this answers null.
  async function niceToHave(method, baseUrl, path, body) {
    if (!baseUrl) return null;
    try {
      return await callJson(method, `${baseUrl}${path}`, { body, timeoutMs: 1000 });
    } catch {
      return null;
    }
  }

  async function front() {
    const [products, liked] = await Promise.all([
      catalog.products(),
      niceToHave("GET", recommendationsUrl, "/recommended"),
    ]);
    const skus = liked?.status === 200 ? liked.body : [];
    const names = skus.flatMap((sku) => products.find((product) => product.sku === sku)?.name ?? []);
    return [200, shopPage(products, names, randomUUID)];
  }

  // A card that is declined ends the purchase; when nobody can ask the bank, the customer pays on delivery.
  async function pay(id, product) {
    const payment = { order: id, amount_cents: product.price_cents };
    const paid = await niceToHave("POST", paymentsUrl, "/payments", payment);
    if (paid?.status === 402) throw new Refused(402, `Your payment was declined: ${paid.body.error}.`);
    return paid?.status === 201 ? paid.body.reference : null;
  }

  async function buy(request) {
    const form = await formOf(request);
    const sku = form.get("sku");
    const id = form.get("order");
    if (!sku || !id) throw new Refused(400, "An order needs a product and an order number.");
    const product = await catalog.product(sku);
    if (!product) throw new Refused(404, "We do not sell that (any more).");
    const reference = await pay(id, product);
    const order = { id, sku, price_cents: product.price_cents };
    const { status, body } = await callJson("POST", `${ordersUrl}/orders`, { body: order, timeoutMs: 5000 });
    if (status >= 400) throw new Refused(status < 500 ? status : 503, body.error ?? "The order was not taken.");
    const [arrival] = await Promise.all([
      niceToHave("GET", shippingUrl, "/arrival"),
      niceToHave("POST", recommendationsUrl, `/bought/${encodeURIComponent(sku)}`),
    ]);
    return [status, thanksPage(body, product, reference, arrival?.status === 200 ? arrival.body.arrives : null)];
  }

  async function answer(request) {
    const path = request.url.split("?")[0];
    if (request.method === "GET" && path === "/") return front();
    if (request.method === "POST" && path === "/buy") return buy(request);
    if (request.method === "GET" && path === "/healthz") return [200, "ok\n"];
    throw new Refused(404, "There is no such page.");
  }

  return async (request, response) => {
    let status, body;
    try {
      [status, body] = await answer(request);
    } catch (problem) {
      status = problem instanceof Refused ? problem.status : 503;
      body = problemPage(problem instanceof Refused ? problem.message : "Something behind this page is not well.");
      if (status >= 500) console.error(`${request.method} ${request.url}: ${problem.message}`);
    }
    response.writeHead(status, { "content-type": "text/html; charset=utf-8", "content-length": Buffer.byteLength(body) });
    response.end(body);
  };
}
