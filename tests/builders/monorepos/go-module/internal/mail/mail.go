// Package mail sends it.
package mail

// Sent is what came of it.
func Sent() string { return "sent" }
