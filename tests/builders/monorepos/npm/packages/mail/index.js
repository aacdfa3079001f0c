exports.sent = () => typeof require("inherits");
