package socketio

import (
	"context"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// slowAuthenticator accepts all clients, when the test lets it.
type slowAuthenticator struct{ asked, answer chan struct{} }

func (a slowAuthenticator) Authenticate(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
	a.asked <- struct{}{}
	<-a.answer
	return realtime.Identity{}, nil
}

// TestResetWhileConnecting: no error is logged if a client resets its connection while it is
// being authenticated.
func TestResetWhileConnecting(t *testing.T) {
	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	auth := slowAuthenticator{make(chan struct{}), make(chan struct{})}
	policy := &realtime.Policy{Namespaces: realtime.Globs{"*"}, Authenticators: []realtime.Authenticator{auth}}
	endpoint := realtime.NewEndpoint("default", hub, func() (*realtime.Policy, func()) { return policy, func() {} })
	core, logs := observer.New(zapcore.DebugLevel)
	o := Options{Engine: engineio.Options{Options: connection.Options{PingInterval: time.Hour, Logger: zap.New(core)}}}.WithDefaults()
	server := NewServer(endpoint, func() *Options { return o })
	front := httptest.NewServer(server)
	target, err := url.Parse(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		ws, _, err := websocket.DefaultDialer.Dial("ws://"+target.Host+"/socket.io/?EIO=4&transport=websocket", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := ws.WriteMessage(websocket.TextMessage, []byte("40")); err != nil {
			t.Fatal(err)
		}
		<-auth.asked
		reset(t, ws)
		auth.answer <- struct{}{}
	}
	if err := server.Close(context.Background(), 0); err != nil { // waits for all of them
		t.Error(err)
	}
	front.Close()
	if err := hub.Close(); err != nil {
		t.Error(err)
	}
	for _, entry := range logs.All() {
		if entry.Level > zapcore.InfoLevel {
			t.Errorf("%s: %s %v", entry.Level, entry.Message, entry.ContextMap())
		}
	}
	if n := logs.FilterMessage("disconnected").Len(); n != 20 {
		t.Errorf("%d ends are logged", n)
	}
}

// reset resets a connection.
func reset(t *testing.T, ws *websocket.Conn) {
	t.Helper()
	conn, ok := ws.NetConn().(interface{ SetLinger(seconds int) error })
	if !ok {
		t.Fatal("the connection is not TCP")
	}
	if err := conn.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = ws.Close()
}
