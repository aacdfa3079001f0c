package main

import (
	"fmt"
	"log"
	"net/http"
	"os"

	"shop.example/orders/internal/health"
	"shop.example/orders/internal/pricing"
)

func main() {
	ask, err := health.Serve()
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(reply http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(reply, "release 1: %d prices, %s", pricing.Count(), ask())
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
