package test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	"github.com/gorilla/websocket"
)

// TestPassThrough checks that requests outside the endpoint's own paths reach the
// application behind it unchanged.
func TestPassThrough(t *testing.T) {
	t.Parallel()
	var upgrader websocket.Upgrader
	application := http.NewServeMux()
	application.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/health+json")
		_, _ = io.WriteString(w, `{"status":"pass"}`)
	})
	application.HandleFunc("/chat", func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			kind, data, err := conn.ReadMessage()
			if err != nil || conn.WriteMessage(kind, append([]byte("the application got "), data...)) != nil {
				return
			}
		}
	})
	application.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done() // flushed data must arrive before the end
	})
	application.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Application", "yes")
		w.Header().Set("Vary", "Accept")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s origin=%s cookie=%s body=%s", r.Method, r.URL.RequestURI(), r.Header.Get("Origin"), r.Header.Get("Cookie"), body)
	})
	backend := httptest.NewServer(application)
	defer backend.Close()
	upgrader.CheckOrigin = func(*http.Request) bool { return true } // the application's own business

	s := harness.Start(t, harness.Shipped, harness.Config{Site: "realtime\nreverse_proxy " + strings.TrimPrefix(backend.URL, "http://")})

	if a := s.Request(t, "GET", "/health", ""); a.Status != http.StatusOK || a.Body != `{"status":"pass"}` || a.Header.Get("Content-Type") != "application/health+json" {
		t.Errorf("the application's health is %d %s", a.Status, a.Body)
	}
	if a := s.Request(t, "GET", "/health/realtime", ""); a.Status != http.StatusOK || a.Body != `{"websocket":{"enabled":true,"connections":0}}` {
		t.Errorf("the health of realtime is %d %s", a.Status, a.Body)
	}

	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		for _, path := range []string{
			"/", "/api/things?a=1&b=%20x", "/socket.iox", "/socket.iox/", "/socket", "/Socket.IO/", "/x/socket.io/",
			"/health/realtime/", "/health/realtimes", "/ws", "/a//b/./c%2Fd",
		} {
			want := fmt.Sprintf("%s %s origin=https://evil.test cookie=id=1 body=payload", method, path)
			if strings.Contains(path, "//") {
				continue // ServeMux redirects it, not Caddy
			}
			a := s.Request(t, method, path, "payload", "Origin", "https://evil.test", "Cookie", "id=1")
			if a.Status != http.StatusTeapot || a.Body != want || a.Header.Get("X-Application") != "yes" {
				t.Errorf("the answer to %s %s is %d %s", method, path, a.Status, a.Body)
			}
			if got := corsHeaders(a); !slices.Equal(got, []string{"Vary: Accept"}) {
				t.Errorf("the answer to %s %s has %q", method, path, got)
			}
		}
	}

	// A large body is not changed.
	body := strings.Repeat("payload ", 1_000_000)
	if a := s.Request(t, "POST", "/upload", body); !strings.HasSuffix(a.Body, "body="+body) {
		t.Errorf("the answer to a big body is %d, of %d bytes", a.Status, len(a.Body))
	}

	// The application has WebSockets of its own, for any origin.
	ws := s.MustDial(t, "/chat", "Origin", "https://anyone.test")
	for _, text := range []string{"2probe", "40", "{}"} {
		ws.Send(text)
		if got := ws.Next(); got != "the application got "+text {
			t.Errorf("the application's WebSocket says %q", got)
		}
	}
	ws.Close()

	response, err := (&http.Client{Timeout: harness.Timeout}).Get(s.URL() + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	streamed := make([]byte, len("data: 0\n\ndata: 1\n\ndata: 2\n\n"))
	if _, err := io.ReadFull(response.Body, streamed); err != nil || !strings.HasSuffix(string(streamed), "data: 2\n\n") {
		t.Errorf("the stream has %q: %v", streamed, err)
	}
	response.Body.Close()

	// Socket.IO works beside it, without configuration.
	n := s.StartNode(t, "client.mjs", "TRANSPORTS", "polling,websocket")
	n.Expect("connected", nil)
	if a := s.Request(t, "GET", "/health/realtime", ""); a.Body != `{"websocket":{"enabled":true,"connections":1}}` {
		t.Errorf("the health of realtime is %s", a.Body)
	}
	if a := s.Request(t, "POST", "/health/realtime", ""); a.Status != http.StatusMethodNotAllowed {
		t.Errorf("a POST to the health is answered %d", a.Status)
	}
	n.Tell("disconnect")
	begin := time.Now()
	s.WaitHealth("empty", func(h harness.Health) bool { return h.WebSocket.Connections == 0 })
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v to be empty", took)
	}
	// An endpoint without handlers acks events with an error and keeps the connection.
	w := s.OpenWebSocket(t)
	w.Connect()
	w.Send(`421["hello"]`)
	if got := w.Receive(); !strings.HasPrefix(got, `431[{"error":{"code":"unhandled_event"`) {
		t.Errorf("an event is answered %s", got)
	}
}
