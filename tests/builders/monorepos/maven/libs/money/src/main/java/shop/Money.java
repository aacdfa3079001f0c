package shop;

public class Money {
    public static String total() {
        return "12 EUR";
    }
}
