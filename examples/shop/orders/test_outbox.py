"""python3 -m unittest"""

import sqlite3
import threading
import unittest

from orders import Orders
from outbox import LONGEST_S, MOST, Outbox

TOPIC = "orders.placed"


class OutboxTest(unittest.TestCase):
    def setUp(self) -> None:
        self.orders = Orders(":memory:")
        self.now = 1000.0
        self.outbox = Outbox(self.orders.run, clock=lambda: self.now)

    def place(self, *ids: str) -> None:
        for id in ids:
            self.orders.take(id, "lamp", 4900)

    def take(self, limit: int = 10, seconds: float = 30.0) -> tuple[list[str], str]:
        taken = self.outbox.take(TOPIC, limit, seconds)
        return [message.split('"')[3] for message in taken["messages"]], taken["lease"]

    def test_each_message_goes_to_one_consumer(self) -> None:
        self.place("a", "b", "c")
        self.assertEqual(self.take(limit=2)[0], ["a", "b"])
        self.assertEqual(self.take()[0], ["c"])
        self.assertEqual(self.take()[0], [])

    def test_a_message_that_nobody_finished_comes_back(self) -> None:
        self.place("a", "b")
        _, first = self.take()
        self.assertTrue(self.outbox.done(TOPIC, "a", first))
        self.now += 31
        again, second = self.take()
        self.assertEqual(again, ["b"])
        self.assertFalse(self.outbox.done(TOPIC, "b", first), "it is another consumer's now")
        self.assertTrue(self.outbox.done(TOPIC, "b", second))
        self.assertEqual(self.outbox.waiting(TOPIC), 0)

    def test_late_word_of_a_finished_message_is_still_taken_while_nobody_else_has_it(self) -> None:
        self.place("a")
        _, lease = self.take()
        self.now += 31
        self.assertTrue(self.outbox.done(TOPIC, "a", lease))

    def test_topics_are_queues_of_their_own(self) -> None:
        self.place("a")
        self.assertEqual(self.outbox.take("orders.cancelled", 10, 30)["messages"], [])

    def test_nobody_takes_everything_or_for_ever(self) -> None:
        self.place(*(f"o{number:03}" for number in range(MOST + 1)))
        self.assertEqual(len(self.take(limit=10**6, seconds=10**9)[0]), MOST)
        self.now += LONGEST_S + 1
        self.assertEqual(len(self.take(limit=MOST)[0]), MOST)

    def test_consumers_that_ask_at_the_same_time_never_share_a_message(self) -> None:
        self.place(*(f"o{number:03}" for number in range(60)))
        got: list[str] = []

        def consume() -> None:
            while ids := self.take(limit=3)[0]:
                got.extend(ids)

        consumers = [threading.Thread(target=consume) for _ in range(4)]
        for each in consumers:
            each.start()
        for each in consumers:
            each.join(20)
        self.assertEqual(sorted(got), [f"o{number:03}" for number in range(60)])

    def test_an_order_that_is_not_kept_is_not_published(self) -> None:
        with self.assertRaises(sqlite3.IntegrityError):
            self.orders.take("a", None, 1)  # type: ignore[arg-type]
        self.assertEqual(self.outbox.waiting(TOPIC), 0)


if __name__ == "__main__":
    unittest.main()
