package shop.orders;

import io.javalin.Javalin;
import shop.pricing.Prices;

public final class Main {
    private Main() {}

    public static void main(String[] arguments) {
        var app = Javalin.create(config -> config.showJavalinBanner = false);
        app.get("/", context -> context.result("release 1: " + Prices.count() + " prices"));
        app.start("127.0.0.1", Integer.parseInt(System.getenv("PORT")));
    }
}
