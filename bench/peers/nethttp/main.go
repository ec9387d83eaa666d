// Command nethttp answers every request with two bytes: what a request costs in net/http.
package main

import (
	"io"
	"log"
	"net/http"

	"github.com/caddy-realtime/caddy-realtime/bench/peers/internal/listener"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "ok")
	})
	log.Fatal(http.Serve(listener.Open(), nil))
}
