module example.com/shop/payments

go 1.21

require (
	example.com/shop/libs/mail v0.0.0
	example.com/shop/libs/money v0.0.0
)
