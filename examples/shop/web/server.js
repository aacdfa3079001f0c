// Starts the shop's front page on PORT; on this machine's own address, unless HOST says another.

import http from "node:http";
import { connectCatalog } from "./catalog.js";
import { shop } from "./shop.js";

const { HOST = "127.0.0.1", PORT, CATALOG_ADDR, ORDERS_URL, PAYMENTS_URL, RECOMMENDATIONS_URL, SHIPPING_URL } = process.env;
const handler = shop({
  catalog: connectCatalog(CATALOG_ADDR),
  ordersUrl: ORDERS_URL,
  paymentsUrl: PAYMENTS_URL,
  recommendationsUrl: RECOMMENDATIONS_URL,
  shippingUrl: SHIPPING_URL,
});
http.createServer(handler).listen(Number(PORT), HOST, () => console.log(`the shop is open on port ${PORT}`));
