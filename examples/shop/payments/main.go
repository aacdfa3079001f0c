// Payments says whether an order can be paid: HTTP, nothing but the standard library.
//
//	POST /payments   {"order", "amount_cents"}: 201 with a reference, 402 when it is declined
//	GET  /healthz    200
//
// There is no database: the reference is made of the order and its amount, so an order that is sent twice is paid once,
// whichever replica or release is asked.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
)

type payment struct {
	Order       string `json:"order"`
	AmountCents int    `json:"amount_cents"`
	Reference   string `json:"reference,omitempty"`
}

// pay returns the payment with its reference, or why it is declined.
func pay(asked payment, limitCents int) (payment, error) {
	if asked.AmountCents > limitCents {
		return asked, fmt.Errorf("more than %d.%02d at once", limitCents/100, limitCents%100)
	}
	sum := sha256.Sum256([]byte(fmt.Sprintf("%s %d", asked.Order, asked.AmountCents)))
	asked.Reference = fmt.Sprintf("%x", sum[:6])
	return asked, nil
}

func handler(limitCents int) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]bool{"ok": true})
	})
	mux.HandleFunc("/payments", func(w http.ResponseWriter, r *http.Request) {
		var asked payment
		if r.Method != http.MethodPost {
			answer(w, http.StatusMethodNotAllowed, problem("payments are made with POST"))
			return
		}
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 10_000)).Decode(&asked)
		if err != nil || asked.Order == "" || asked.AmountCents <= 0 {
			answer(w, http.StatusBadRequest, problem("a payment has order and amount_cents"))
			return
		}
		paid, declined := pay(asked, limitCents)
		if declined != nil {
			answer(w, http.StatusPaymentRequired, problem(declined.Error()))
			return
		}
		answer(w, http.StatusCreated, paid)
	})
	return mux
}

func problem(text string) map[string]string {
	return map[string]string{"error": text}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a caller that has left does not matter
}

func main() {
	limitCents, err := strconv.Atoi(os.Getenv("LIMIT_CENTS"))
	if err != nil {
		log.Fatalf("LIMIT_CENTS must be a number: %v", err)
	}
	host := os.Getenv("HOST")
	if host == "" {
		host = "127.0.0.1"
	}
	address := net.JoinHostPort(host, os.Getenv("PORT"))
	log.Printf("payments up to %d cents on %s", limitCents, address)
	log.Fatal(http.ListenAndServe(address, handler(limitCents)))
}
