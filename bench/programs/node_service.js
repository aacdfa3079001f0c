// An HTTP service for Atoll and for pm2's cluster mode. PORT, VERSION, WORK_MS and FAIL_SHARE as in http_service.py. SIGINT
// (pm2's way to say goodbye) and SIGTERM let running requests end.

const http = require("node:http");

const { PORT, VERSION = "v1", WORK_MS = "0", FAIL_SHARE = "0" } = process.env;
const server = http.createServer((request, response) => {
  if (request.url === "/healthz") return response.end("ok");
  setTimeout(() => {
    response.statusCode = Math.random() < Number(FAIL_SHARE) ? 500 : 200;
    response.end(VERSION);
  }, Number(WORK_MS));
});
server.listen(Number(PORT), "127.0.0.1");
const end = () => server.close(() => process.exit(0));
process.on("SIGINT", end);
process.on("SIGTERM", end);
