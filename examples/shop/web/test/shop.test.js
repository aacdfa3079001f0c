// npm test

import assert from "node:assert/strict";
import http from "node:http";
import { after, before, beforeEach, test } from "node:test";
import { callJson } from "../http-json.js";
import { shopPage } from "../pages.js";
import { shop } from "../shop.js";

const LAMP = { sku: "lamp", name: "Reading <lamp>", blurb: "Warm.", price_cents: 4900 };
const taken = [];
const bought = [];
let ordersStatus, paymentsStatus, catalogIsWell, servers, url, urlAlone;

const catalog = {
  products: async () => {
    if (!catalogIsWell) throw new Error("14 UNAVAILABLE");
    return [LAMP];
  },
  product: async (sku) => (sku === "lamp" ? LAMP : null),
};

const listen = (handler) =>
  new Promise((resolve) => {
    const server = http.createServer(handler).listen(0, "127.0.0.1", () => resolve(server));
  });
const urlOf = (server) => `http://127.0.0.1:${server.address().port}`;

before(async () => {
  const orders = await listen(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    taken.push(JSON.parse(body));
    response.writeHead(ordersStatus).end(JSON.stringify({ id: taken.at(-1).id, version: "7" }));
  });
  const others = await listen((request, response) => {
    if (request.url.startsWith("/bought/")) bought.push(request.url);
    const answers = {
      "/payments": [paymentsStatus, { reference: "r7", error: "too much" }],
      "/recommended": [200, ["lamp", "unicorn"]],
      "/arrival": [200, { arrives: "2026-11-26" }],
    };
    const [status, body] = answers[request.url] ?? [200, {}];
    request.resume().on("end", () => response.writeHead(status).end(JSON.stringify(body)));
  });
  const needed = { catalog, ordersUrl: urlOf(orders) };
  const wellOff = { paymentsUrl: urlOf(others), recommendationsUrl: urlOf(others), shippingUrl: urlOf(others) };
  // Port 9 (discard) is closed: what the shop can do without is away, as it may be.
  const away = { paymentsUrl: "http://127.0.0.1:9", recommendationsUrl: "http://127.0.0.1:9" };
  const web = await listen(shop({ ...needed, ...wellOff }));
  const alone = await listen(shop({ ...needed, ...away }));
  servers = [orders, others, web, alone];
  url = urlOf(web);
  urlAlone = urlOf(alone);
});
after(() => servers.forEach((server) => (server.close(), server.closeAllConnections())));
beforeEach(() => {
  ordersStatus = paymentsStatus = 201;
  catalogIsWell = true;
  taken.length = bought.length = 0;
});

function ask(method, path, form, base = url) {
  return new Promise((resolve, reject) => {
    const request = http.request(base + path, { method, agent: false }, (response) => {
      let body = "";
      response.on("data", (chunk) => (body += chunk)).on("end", () => resolve({ status: response.statusCode, body }));
    });
    request.on("error", reject).end(form);
  });
}

test("the page shows what is sold, escaped, and the names of what others liked", async () => {
  const { status, body } = await ask("GET", "/");
  assert.equal(status, 200);
  assert.match(body, /Others liked: Reading &lt;lamp&gt;</);
});

test("the page is shown without the recommendations that are away", async () => {
  const { status, body } = await ask("GET", "/", undefined, urlAlone);
  assert.equal(status, 200);
  assert.match(body, /Reading &lt;lamp&gt;/);
  assert.doesNotMatch(body, /Others liked/);
});

test("what others liked is shown when it is known", () => {
  assert.match(shopPage([LAMP], ["Kettle & co"], () => "1"), /Others liked: Kettle &amp; co/);
});

test("buying hands the order with its id and price to orders", async () => {
  const { status, body } = await ask("POST", "/buy", "sku=lamp&order=a1");
  assert.equal(status, 201);
  assert.match(body, /Order <b>a1<\/b>.*paid \(r7\).*brings it on 2026-11-26.*Taken by orders 7/);
  assert.deepEqual(taken, [{ id: "a1", sku: "lamp", price_cents: 4900 }]);
  assert.deepEqual(bought, ["/bought/lamp"]);
});

test("what is declined is not ordered", async () => {
  paymentsStatus = 402;
  const { status, body } = await ask("POST", "/buy", "sku=lamp&order=a1");
  assert.equal(status, 402);
  assert.match(body, /declined: too much/);
  assert.equal(taken.length, 0);
});

test("without payments, shipping and recommendations it is paid on delivery", async () => {
  for (const base of [url, urlAlone]) {
    paymentsStatus = 503;
    const { status, body } = await ask("POST", "/buy", "sku=lamp&order=a1", base);
    assert.equal(status, 201);
    assert.match(body, /to be paid on delivery/);
  }
});

test("what is not sold cannot be bought", async () => {
  assert.equal((await ask("POST", "/buy", "sku=unicorn&order=a1")).status, 404);
  assert.equal((await ask("POST", "/buy", "sku=lamp")).status, 400);
  assert.equal(taken.length, 0);
});

test("a callee that is not well makes a 503, not a crash", async () => {
  ordersStatus = 500;
  assert.equal((await ask("POST", "/buy", "sku=lamp&order=a1")).status, 503);
  catalogIsWell = false;
  assert.equal((await ask("GET", "/")).status, 503);
  assert.equal((await ask("GET", "/healthz")).status, 200);
});

test("a callee that hangs is given up", async () => {
  const silent = await listen(() => {});
  servers.push(silent);
  await assert.rejects(callJson("GET", urlOf(silent), { timeoutMs: 50 }));
});
