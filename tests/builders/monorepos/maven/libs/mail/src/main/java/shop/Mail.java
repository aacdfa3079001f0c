package shop;

public class Mail {
    public static String sent() {
        return "sent";
    }
}
