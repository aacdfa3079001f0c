const { mkdirSync, writeFileSync } = require("node:fs");
const isArray = require("isarray");
const { total } = require("@shop/money");
if (!isArray([total()])) throw new Error("built without its tools");
mkdirSync("dist");
writeFileSync("dist/server.js", `console.log("orders", require("@shop/money").total());\n`);
