package caddy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/gorilla/websocket"
)

// BenchmarkBackend has the time from an event to its ack by a backend that does
// nothing, beside that of the same request to it through a bare reverse_proxy.
func BenchmarkBackend(b *testing.B) {
	asked := make(chan []byte, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		select {
		case asked <- body:
		default:
		}
		_, _ = io.WriteString(w, `{"ack":[{"ok":true}]}`)
	}))
	defer backend.Close()
	port, bare := freePort(b), freePort(b)
	if err := caddy.Load(config(b, fmt.Sprintf(`http://127.0.0.1:%d {
	realtime {
		backend %s/realtime {
			secret whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
		}
	}
}
http://127.0.0.1:%d {
	reverse_proxy %s
}`, port, backend.URL, bare, strings.TrimPrefix(backend.URL, "http://"))), true); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = caddy.Stop() }()

	event := func(b *testing.B) func() {
		target := url.URL{Scheme: "ws", Host: fmt.Sprintf("127.0.0.1:%d", port), Path: "/socket.io/", RawQuery: "EIO=4&transport=websocket"}
		conn, response, err := websocket.DefaultDialer.Dial(target.String(), nil)
		if err != nil {
			b.Fatal(err)
		}
		_ = response.Body.Close()
		b.Cleanup(func() { _ = conn.Close() })
		exchange := func(text, want string) {
			if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
				b.Error(err)
			}
			for {
				_, data, err := conn.ReadMessage()
				if err != nil {
					b.Error(err)
					return
				}
				if bytes.HasPrefix(data, []byte(want)) {
					return
				}
			}
		}
		exchange("40", "40")
		return func() { exchange(`421["order:create",{"sku":"x","count":3}]`, `431[{"ok":true}]`) }
	}
	ask := event(b)
	for len(asked) > 0 {
		<-asked // that of the connect
	}
	ask()
	body := <-asked // what the other way sends, too

	post := func(b *testing.B) func() {
		transport := &http.Transport{MaxIdleConnsPerHost: 100}
		b.Cleanup(transport.CloseIdleConnections)
		address := fmt.Sprintf("http://127.0.0.1:%d/realtime", bare)
		return func() {
			r, err := http.NewRequest(http.MethodPost, address, bytes.NewReader(body))
			if err != nil {
				b.Error(err)
			}
			a, err := transport.RoundTrip(r)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, a.Body)
			_ = a.Body.Close()
		}
	}
	direct := func(b *testing.B) func() {
		transport := &http.Transport{MaxIdleConnsPerHost: 100}
		b.Cleanup(transport.CloseIdleConnections)
		return func() {
			r, err := http.NewRequest(http.MethodPost, backend.URL+"/realtime", bytes.NewReader(body))
			if err != nil {
				b.Error(err)
			}
			a, err := transport.RoundTrip(r)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, a.Body)
			_ = a.Body.Close()
		}
	}
	for _, way := range []struct {
		name string
		open func(b *testing.B) func()
	}{{"event", event}, {"reverse_proxy", post}, {"direct", direct}} {
		b.Run(way.name+"/one", func(b *testing.B) {
			do := way.open(b)
			do()
			for b.Loop() {
				do()
			}
		})
		b.Run(way.name+"/parallel", func(b *testing.B) {
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				do := way.open(b)
				for pb.Next() {
					do()
				}
			})
		})
	}
}
