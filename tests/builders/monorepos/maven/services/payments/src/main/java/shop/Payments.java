package shop;

public class Payments {
    public static void main(String[] arguments) {
        System.out.println("payments " + Money.total() + " " + Mail.sent());
    }
}
