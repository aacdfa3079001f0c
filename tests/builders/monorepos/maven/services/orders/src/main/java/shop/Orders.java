package shop;

public class Orders {
    public static void main(String[] arguments) {
        System.out.println("orders " + Money.total());
    }
}
