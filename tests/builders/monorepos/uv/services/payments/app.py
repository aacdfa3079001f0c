from mail import sent
from money import total

print("payments", total(), sent())
