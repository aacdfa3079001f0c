from money import total

print("orders", total())
