import { prices } from "@shop/pricing";
import fastify from "fastify";

const app = fastify();
app.get("/", async () => `release 1: ${prices.length} prices`);
app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
