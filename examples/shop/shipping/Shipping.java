import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.time.format.DateTimeParseException;
import java.util.concurrent.Executors;

/**
 * Says when an order arrives: HTTP, nothing but the JDK.
 *
 * <pre>
 * GET /arrival                       {"ferry", "arrives"} of what is ordered today
 * GET /arrival?ordered=2026-11-23    of what is ordered on that day
 * GET /healthz                       200
 * </pre>
 */
public final class Shipping {
    private Shipping() {}

    /** A server that listens already; call its {@code start}. Port 0 takes a free one. */
    static HttpServer server(String host, int port) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(host, port), 128);
        server.createContext("/healthz", exchange -> answer(exchange, 200, "{\"ok\": true}"));
        server.createContext("/arrival", Shipping::arrival);
        server.setExecutor(Executors.newCachedThreadPool());
        return server;
    }

    private static void arrival(HttpExchange exchange) throws IOException {
        String query = exchange.getRequestURI().getQuery();
        try {
            LocalDate ordered = query == null
                    ? LocalDate.now(ZoneOffset.UTC)
                    : LocalDate.parse(query.replaceFirst("^ordered=", ""));
            answer(exchange, 200, String.format("{\"ferry\": \"%s\", \"arrives\": \"%s\"}",
                    Timetable.ferry(ordered), Timetable.arrival(ordered)));
        } catch (DateTimeParseException problem) {
            answer(exchange, 400, "{\"error\": \"ordered is a day such as 2026-11-23\"}");
        }
    }

    private static void answer(HttpExchange exchange, int status, String json) throws IOException {
        try {
            byte[] body = json.getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("Content-Type", "application/json");
            exchange.sendResponseHeaders(status, body.length);
            exchange.getResponseBody().write(body);
        } finally {
            exchange.close();
        }
    }

    public static void main(String[] arguments) throws IOException {
        System.setProperty("sun.net.httpserver.nodelay", "true"); // head and body shall not wait for each other
        String host = System.getenv().getOrDefault("HOST", "127.0.0.1");
        HttpServer server = server(host, Integer.parseInt(System.getenv("PORT")));
        server.start();
        System.out.println("shipping knows the ferries on port " + server.getAddress().getPort());
    }
}
