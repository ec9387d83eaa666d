package test

import (
	"net/http"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// The parts of the site that reloads remove or change.
const (
	jsonPath      = "websocket /ws\n"
	rawPath       = "websocket /raw raw\n"
	otherEndpoint = `
		realtime {
			name other
			health off
			socketio /other/
			handler echo
		}`
)

// removalSite is a site with an endpoint that has these options, and more endpoints.
func removalSite(options, more string) harness.Config {
	return harness.Config{Site: "realtime {\n authenticator token \n handler echo \n" + options + "}" + more}
}

// A removalTest has a client of each part of the site. A reload must close the clients of
// what it removes, and no others.
type removalTest struct {
	*harness.Server
	webSocket, upgraded, other *harness.WebSocket // Socket.IO
	polling                    *harness.Session
	plain, raw                 *harness.WebSocket
	mark                       int // in the log, before the reload
}

func startRemovalTest(t *testing.T) *removalTest {
	t.Helper()
	t.Parallel()
	s := harness.Start(t, harness.WithGuests, removalSite(jsonPath+rawPath, otherEndpoint))
	r := &removalTest{
		Server: s, webSocket: harness.ConnectWebSocket(t, s), upgraded: harness.ConnectUpgraded(t, s),
		polling: s.OpenSession(t), plain: harness.ConnectPlain(t, s), raw: harness.ConnectRaw(t, s),
		other: s.MustDial(t, "/other/?EIO=4&transport=websocket"),
	}
	r.polling.Connect()
	r.other.Receive()
	r.other.Connect()
	r.waitConnections(6)
	r.mark = s.Log.Mark()
	return r
}

// reload loads a configuration that closes these WebSockets. The reload waits until their
// clients have closed their side, too.
func (r *removalTest) reload(t *testing.T, c harness.Config, closed ...*harness.WebSocket) {
	t.Helper()
	done := r.StartReload(c)
	for _, w := range closed {
		if code := w.WaitClosed(); code != websocket.CloseGoingAway {
			t.Errorf("a client is closed with %d", code)
		}
	}
	done()
}

func (r *removalTest) waitConnections(n int) {
	r.WaitHealth("with the right number of connections", func(h harness.Health) bool { return h.WebSocket.Connections == n })
}

// wantClosing expects the log to say that one connection of an endpoint was closed. ""
// stands for the endpoint without a name.
func (r *removalTest) wantClosing(t *testing.T, endpoint string) {
	t.Helper()
	if l := r.Log.Wait(t, r.mark, "closing connections"); l.Fields["connections"] != 1.0 || l.Field("endpoint") != endpoint {
		t.Errorf("the log says %s", l.Text)
	}
}

// checkAlive checks the clients of Socket.IO at the first endpoint.
func (r *removalTest) checkAlive() {
	r.webSocket.CheckAlive()
	r.upgraded.CheckAlive()
	r.polling.CheckAlive()
}

// checkPlain checks the client of the json format.
func (r *removalTest) checkPlain(t *testing.T) {
	t.Helper()
	r.plain.Send(`{"event":"message-with-ack","id":1}`)
	if got := r.plain.Receive(); got != `{"ack":1,"args":[]}` {
		t.Errorf("the client of /ws got %s", got)
	}
}

// TestReloadWithoutPath removes a path of plain WebSockets.
func TestReloadWithoutPath(t *testing.T) {
	r := startRemovalTest(t)
	r.reload(t, removalSite(jsonPath, otherEndpoint), r.raw)
	r.wantClosing(t, "")
	r.Log.Wait(t, r.mark, "socket disconnected", "reason", "server shutting down")
	if _, a := r.Dial(t, "/raw"); a.Status == http.StatusSwitchingProtocols {
		t.Error("/raw still answers")
	}
	r.waitConnections(5)
	r.checkAlive()
	r.checkPlain(t)
	r.other.CheckAlive()
}

// TestReloadWithoutEndpoint removes one of two endpoints.
func TestReloadWithoutEndpoint(t *testing.T) {
	r := startRemovalTest(t)
	r.reload(t, removalSite(jsonPath+rawPath, ""), r.other)
	r.wantClosing(t, "other")
	r.waitConnections(5)
	r.checkAlive()
	r.checkPlain(t)
}

// TestReloadWithoutFormat changes the format at a path. Clients of the old one must go.
func TestReloadWithoutFormat(t *testing.T) {
	r := startRemovalTest(t)
	r.reload(t, removalSite("websocket /ws raw\n"+rawPath, otherEndpoint), r.plain)
	r.wantClosing(t, "")
	r.MustDial(t, "/ws")
	r.waitConnections(6)
	r.checkAlive()
	r.other.CheckAlive()
}

// TestReloadWithoutSocketIO switches Socket.IO off at an endpoint.
func TestReloadWithoutSocketIO(t *testing.T) {
	r := startRemovalTest(t)
	r.reload(t, removalSite("socketio off\n"+jsonPath+rawPath, otherEndpoint), r.webSocket, r.upgraded)
	r.Log.Wait(t, r.mark, "disconnected", "session", r.polling.ID, "reason", "server shutting down")
	r.waitConnections(3)
	r.checkPlain(t)
	r.other.CheckAlive()
}

// TestReloadWithoutEndpoints removes all endpoints, and adds one again.
func TestReloadWithoutEndpoints(t *testing.T) {
	r := startRemovalTest(t)
	r.reload(t, harness.Config{Site: "respond bye"}, r.webSocket, r.upgraded, r.plain, r.raw, r.other)
	r.Log.Wait(t, r.mark, "disconnected", "session", r.polling.ID, "reason", "server shutting down")
	if a := r.Request(t, http.MethodGet, "/health/realtime", ""); a.Body != "bye" {
		t.Errorf("the path of health is answered %s", a.Body)
	}
	r.MustReload(harness.Config{Site: relaySite("")})
	harness.ConnectWebSocket(t, r.Server).CheckAlive()
}
