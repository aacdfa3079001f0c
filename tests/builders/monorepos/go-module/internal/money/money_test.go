package money_test

import (
	"testing"

	"example.com/shop/internal/money"
	shop "example.com/shop/internal/testing"
)

func TestTotal(t *testing.T) { shop.Same(t, money.Total(), "12 EUR") }
