// go test

package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func ask(method, path, body string) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	handler(10_000).ServeHTTP(recorder, httptest.NewRequest(method, path, strings.NewReader(body)))
	return recorder
}

func TestAnswers(t *testing.T) {
	for name, one := range map[string]struct {
		method, path, body string
		status             int
	}{
		"an order is paid":                {"POST", "/payments", `{"order": "a1", "amount_cents": 4900}`, http.StatusCreated},
		"too much at once is declined":    {"POST", "/payments", `{"order": "a1", "amount_cents": 10001}`, http.StatusPaymentRequired},
		"a payment of nothing is refused": {"POST", "/payments", `{"order": "a1", "amount_cents": 0}`, http.StatusBadRequest},
		"a payment of nobody is refused":  {"POST", "/payments", `{"amount_cents": 4900}`, http.StatusBadRequest},
		"what is not JSON is refused":     {"POST", "/payments", `order=a1`, http.StatusBadRequest},
		"there is nothing to look at":     {"GET", "/payments", "", http.StatusMethodNotAllowed},
		"it is well":                      {"GET", "/healthz", "", http.StatusOK},
		"other paths belong to nobody":    {"GET", "/", "", http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ask(one.method, one.path, one.body); got.Code != one.status {
				t.Errorf("%d %s, want %d", got.Code, got.Body, one.status)
			}
		})
	}
}

func TestAnOrderThatIsSentTwiceIsPaidOnce(t *testing.T) {
	order := payment{Order: "a1", AmountCents: 4900}
	first, _ := pay(order, 10_000)
	second, _ := pay(order, 10_000)
	order.AmountCents++
	other, _ := pay(order, 10_000)
	if first.Reference == "" || first != second || first.Reference == other.Reference {
		t.Errorf("references %q, %q and, of another amount, %q", first.Reference, second.Reference, other.Reference)
	}
}
