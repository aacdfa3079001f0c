console.log("payments", require("@shop/money").total(), require("@shop/mail").sent(), require("ms")(1000));
