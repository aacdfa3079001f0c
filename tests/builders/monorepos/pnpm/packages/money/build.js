const { mkdirSync, writeFileSync } = require("node:fs");
const { currency } = require("../../config/money");
mkdirSync("dist");
writeFileSync("dist/index.js", `exports.total = () => "12 ${currency} " + require("ms")(1000, { long: true });\n`);
