package main

import (
	"fmt"

	"example.com/shop/libs/money"
)

func main() { fmt.Println("orders", money.Total()) }
