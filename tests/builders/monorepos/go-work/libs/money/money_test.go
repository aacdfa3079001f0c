package money

import "testing"

func TestTotal(t *testing.T) {
	if Total() == "" {
		t.Fatal("nothing")
	}
}
