package main

import (
	"fmt"

	"example.com/shop/internal/money"
)

func main() { fmt.Println("orders", money.Total()) }
