// Package money counts it.
package money

// Total is what is to be paid.
func Total() string { return "12 EUR" }
