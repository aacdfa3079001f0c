module example.com/shop/orders

go 1.21

require example.com/shop/libs/money v0.0.0

replace example.com/shop/libs/money => ../../libs/money
