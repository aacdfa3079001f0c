import java.time.DayOfWeek;
import java.time.LocalDate;
import java.time.temporal.TemporalAdjusters;

/** When the ferry brings an order. Pure: a day in, a day out. */
final class Timetable {
    static final int DAYS_AT_SEA = 2;

    private Timetable() {}

    /** The next ferry that an order of that day can take: Tuesdays and Fridays, and packing takes until the next day. */
    static LocalDate ferry(LocalDate ordered) {
        LocalDate packed = ordered.plusDays(1);
        LocalDate tuesday = packed.with(TemporalAdjusters.nextOrSame(DayOfWeek.TUESDAY));
        LocalDate friday = packed.with(TemporalAdjusters.nextOrSame(DayOfWeek.FRIDAY));
        return tuesday.isBefore(friday) ? tuesday : friday;
    }

    static LocalDate arrival(LocalDate ordered) {
        return ferry(ordered).plusDays(DAYS_AT_SEA);
    }
}
