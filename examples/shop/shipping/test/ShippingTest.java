import com.sun.net.httpserver.HttpServer;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.LocalDate;

/** javac -d /tmp/shipping *.java test/*.java && java -cp /tmp/shipping ShippingTest */
public final class ShippingTest {
    private ShippingTest() {}

    static void same(String what, Object expected, Object seen) {
        if (!expected.equals(seen)) {
            throw new AssertionError(what + ": expected " + expected + ", not " + seen);
        }
        System.out.println("ok: " + what);
    }

    static LocalDate day(int ofNovember) {
        return LocalDate.of(2026, 11, ofNovember);
    }

    public static void main(String[] arguments) throws Exception {
        same("what is ordered on Monday takes Tuesday's ferry", day(24), Timetable.ferry(day(23)));
        same("what is ordered on Tuesday has missed it", day(27), Timetable.ferry(day(24)));
        same("what is ordered on Friday waits for Tuesday", day(24), Timetable.ferry(day(20)));
        same("the sea takes two days", day(26), Timetable.arrival(day(23)));

        HttpServer server = Shipping.server("127.0.0.1", 0);
        server.start();
        String url = "http://127.0.0.1:" + server.getAddress().getPort();
        HttpClient client = HttpClient.newHttpClient();
        try {
            for (String[] one : new String[][] {
                {"/arrival?ordered=2026-11-23", "200", "{\"ferry\": \"2026-11-24\", \"arrives\": \"2026-11-26\"}"},
                {"/arrival?ordered=soon", "400", "{\"error\": \"ordered is a day such as 2026-11-23\"}"},
                {"/healthz", "200", "{\"ok\": true}"},
            }) {
                var answer = client.send(HttpRequest.newBuilder(URI.create(url + one[0])).build(), BodyHandlers.ofString());
                same("GET " + one[0], one[1] + " " + one[2], answer.statusCode() + " " + answer.body());
            }
            var today = client.send(HttpRequest.newBuilder(URI.create(url + "/arrival")).build(), BodyHandlers.ofString());
            same("GET /arrival is of today", 200, today.statusCode());
        } finally {
            server.stop(0);
        }
        System.exit(0); // the server's idle threads would wait a minute for more work
    }
}
