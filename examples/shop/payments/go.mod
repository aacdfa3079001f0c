module shop/payments

go 1.21
