package main

import (
	"fmt"

	"example.com/shop/internal/mail"
	"example.com/shop/internal/money"
)

func main() { fmt.Println("payments", money.Total(), mail.Sent()) }
