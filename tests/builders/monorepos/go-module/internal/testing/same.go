// Package testing helps tests.
package testing

import "testing"

// Same fails where two texts differ.
func Same(t *testing.T, a, b string) {
	if a != b {
		t.Fatal(a, b)
	}
}
