package socketio

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// TestPendingEnds: a pending connection is counted until it has entered a namespace or has
// ended, however that happens.
func TestPendingEnds(t *testing.T) {
	const upgrade = "/?EIO=4&transport=websocket"
	dial := func(t *testing.T, s *Server) *websocket.Conn {
		listener := httptest.NewServer(s)
		t.Cleanup(listener.Close)
		ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(listener.URL, "http")+upgrade, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ws.Close() })
		if _, _, err := ws.ReadMessage(); err != nil { // the session is open
			t.Fatal(err)
		}
		return ws
	}
	drain := func(ws *websocket.Conn) { // answers the close frame
		for {
			if _, _, err := ws.ReadMessage(); err != nil {
				return
			}
		}
	}
	for name, end := range map[string]func(t *testing.T, s *Server){
		"it waits when the server closes": func(t *testing.T, s *Server) { newPoller(t, s) },
		"it is let in":                    func(t *testing.T, s *Server) { newPoller(t, s).ask("0") },
		"it is let in twice":              func(t *testing.T, s *Server) { newPoller(t, s).ask("0", "0/a,", "1", "0") },
		"it is refused":                   func(t *testing.T, s *Server) { newPoller(t, s).ask(`0{"refuse":true}`) },
		"its authenticator fails":         func(t *testing.T, s *Server) { newPoller(t, s).ask(`0{"fail":true}`) },
		"it breaks the protocol":          func(t *testing.T, s *Server) { newPoller(t, s).ask("x") },
		"it exceeds a limit":              func(t *testing.T, s *Server) { newPoller(t, s).ask(`0`, `2["x",`+nested(200)+`]`) },
		"it closes":                       func(t *testing.T, s *Server) { p := newPoller(t, s); p.do(http.MethodPost, "1") },
		"it is a WebSocket":               func(t *testing.T, s *Server) { go drain(dial(t, s)) },
		"it is a WebSocket that is let in": func(t *testing.T, s *Server) {
			ws := dial(t, s)
			if err := ws.WriteMessage(websocket.TextMessage, []byte("40")); err != nil {
				t.Fatal(err)
			}
			if _, _, err := ws.ReadMessage(); err != nil {
				t.Fatal(err)
			}
			go drain(ws)
		},
		"it is gone":            func(t *testing.T, s *Server) { _ = dial(t, s).Close() },
		"it cannot be upgraded": func(t *testing.T, s *Server) { s.ServeHTTP(httptest.NewRecorder(), upgradeRequest(upgrade)) },
		"the server shuts": func(t *testing.T, s *Server) {
			shutWithin(s)
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/?EIO=4&transport=polling", nil))
		},
		"it is of Engine.IO 3": func(t *testing.T, s *Server) {
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/?EIO=3&transport=polling", nil))
		},
		"the handshake is too large": func(t *testing.T, s *Server) {
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/?EIO=4&transport=polling&x="+strings.Repeat("x", 20_000), nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestServer(t, func(context.Context, *realtime.Event) {}, testAuthenticator{})
			s.options().Engine.EIO3 = true
			end(t, s)
			if err := s.Close(context.Background(), 0); err != nil { // returns when nothing of it runs any more
				t.Error(err)
			}
			if n := s.endpoint.Pending().Len(); n != 0 {
				t.Errorf("%d connections are pending", n)
			}
		})
	}
}

// testAuthenticator refuses a client, or fails, if the client's auth says so.
type testAuthenticator struct{}

func (testAuthenticator) Authenticate(_ context.Context, _ string, h *realtime.Handshake) (realtime.Identity, error) {
	switch string(h.Auth) {
	case `{"refuse":true}`:
		return realtime.Identity{}, &realtime.ConnectError{Message: "no"}
	case `{"fail":true}`:
		return realtime.Identity{}, errors.New("the database is down")
	}
	return realtime.Identity{}, nil
}

func upgradeRequest(target string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
	} {
		r.Header.Set(name, value)
	}
	return r
}

// shutWithin closes the server during the next handshake.
func shutWithin(s *Server) {
	s.options().Engine.KeepValues = func(*http.Request) map[string]string {
		s.Shut()
		return nil
	}
}

// TestPendingAtOnce: of many connections at the same time, exactly as many are accepted as may
// be pending.
func TestPendingAtOnce(t *testing.T) {
	s := newTestServer(t, func(context.Context, *realtime.Event) {})
	most := realtime.Limits{}.WithDefaults().Pending
	for range most - 3 {
		s.endpoint.Pending().Acquire()
	}
	answers := make(chan int)
	for range 20 {
		go func() {
			answer := httptest.NewRecorder()
			s.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/?EIO=4&transport=polling", nil))
			answers <- answer.Code
		}()
	}
	codes := make(map[int]int)
	for range 20 {
		codes[<-answers]++
	}
	if codes[http.StatusOK] != 3 || codes[http.StatusServiceUnavailable] != 17 {
		t.Errorf("%v", codes)
	}
}
