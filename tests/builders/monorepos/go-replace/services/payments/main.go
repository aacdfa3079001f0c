package main

import (
	"fmt"

	"example.com/shop/libs/mail"
	"example.com/shop/libs/money"
)

func main() { fmt.Println("payments", money.Total(), mail.Sent()) }
