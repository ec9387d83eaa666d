package test

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// A returningClient is a client that reconnects to a restarted server.
type returningClient struct {
	*harness.Program
	id string
}

// startReturningClients starts one client for each transport.
func startReturningClients(t *testing.T, s *harness.Server) []*returningClient {
	t.Helper()
	var all []*returningClient
	for _, transports := range everyTransport {
		c := &returningClient{Program: s.StartNode(t, "restart.mjs", "TRANSPORTS", transports)}
		if c.waitConnected() {
			t.Error("a new client is recovered")
		}
		all = append(all, c)
	}
	return all
}

// waitConnected waits until the client is connected, and reports whether it was
// recovered.
func (c *returningClient) waitConnected() (recovered bool) {
	c.T.Helper()
	var how struct {
		ID        string
		Recovered bool
	}
	c.Expect("connected", &how)
	if how.Recovered && how.ID != c.id {
		c.T.Errorf("a client is recovered as %s and was %s", how.ID, c.id)
	}
	c.id = how.ID
	return how.Recovered
}

// waitReturned waits until the client has lost its connection and has another one.
func (c *returningClient) waitReturned() (recovered bool) {
	c.T.Helper()
	c.Expect("disconnected", nil)
	return c.waitConnected()
}

// restartConfig is a site with reconnecting clients and an HTTP API.
func restartConfig(hub string) harness.Config {
	return harness.Config{
		Global: "realtime {\n" + hub + "\n}",
		Site: `realtime {
			authenticator token
			handler echo
			ping 500ms 20s
			api /api/realtime {
				key ` + harness.FirstKey + `
			}
		}`,
	}
}

// A newsPublisher publishes numbered events, one after the other.
type newsPublisher struct {
	s        *harness.Server
	t        *testing.T
	next     int
	accepted []int
	unknown  []int // it is not known whether these were accepted
}

// publish publishes the next event, and reports whether the server has accepted it.
func (p *newsPublisher) publish() bool {
	p.t.Helper()
	body := fmt.Sprintf(`{"to":["org:ann"],"event":"news","args":[%d]}`, p.next)
	a, err := p.s.TryRequest(p.t.Context(), "POST", "/api/realtime/emit", body, "Authorization", "Bearer "+harness.FirstKey, "Content-Type", "application/json")
	p.next++
	switch {
	case err != nil:
		p.unknown = append(p.unknown, p.next-1)
		return false
	case a.Status == http.StatusAccepted:
		p.accepted = append(p.accepted, p.next-1)
		return true
	case a.Status != http.StatusServiceUnavailable:
		p.t.Errorf("news are answered %d %s", a.Status, a.Body)
	}
	return false
}

// check compares what a client has received with the accepted events.
func (p *newsPublisher) check(heard []int) {
	p.t.Helper()
	certain := slices.DeleteFunc(slices.Clone(heard), func(n int) bool { return slices.Contains(p.unknown, n) })
	if !slices.Equal(certain, p.accepted) || !slices.IsSorted(heard) {
		p.t.Errorf("a client has heard\n%v, not\n%v", heard, p.accepted)
	}
}

// TestRestart checks that a restarted server has all sockets of the clients that
// reconnect, and all events that they have missed.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.WithGuests, restartConfig("drain 3s\nrecovery 2m")) // long enough for some events
	clients := startReturningClients(t, s)
	news := &newsPublisher{s: s, t: t}
	for round := range 3 {
		for range 3 {
			news.publish()
		}
		for _, c := range clients { // so that each of them has an offset
			c.Tell("ask enter room-" + strconv.Itoa(round))
			c.Expect("answered", nil)
		}
		s.Signal(syscall.SIGTERM)
		for news.publish() {
			time.Sleep(10 * time.Millisecond) // between two events, while the server drains
		}
		s.Wait()
		s.Run()
		for _, c := range clients {
			if !c.waitReturned() {
				t.Errorf("round %d: a client is not recovered", round)
			}
			c.Tell("ask whoami")
			var known struct {
				ID, User string
				Rooms    []string
			}
			c.Expect("answered", &known)
			slices.Sort(known.Rooms)
			rooms := []string{"org:ann"}
			for i := range round + 1 {
				rooms = append(rooms, fmt.Sprint("room-", i))
			}
			if rooms = append(rooms, "staff"); known.ID != c.id || known.User != "ann" || !slices.Equal(known.Rooms, rooms) {
				t.Errorf("round %d: a client is back as %+v", round, known)
			}
		}
	}
	news.publish()
	for _, c := range clients {
		c.Tell("ask message-with-ack") // the events accepted before come before the ack
		c.Expect("answered", nil)
		c.Tell("heard")
		var heard []int
		c.Expect("heard", &heard)
		news.check(heard)
		c.Tell("leave")
		c.Expect("disconnected", nil)
		c.Finish()
	}
	t.Logf("%d pieces of news were accepted, %d perhaps", len(news.accepted), len(news.unknown))
	if len(news.accepted) < 15 {
		t.Error("there was too little news")
	}
}

// TestRestartAnew checks that nothing is taken over without recovery, or after a crash.
func TestRestartAnew(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		hub string
		end syscall.Signal
	}{
		"without recovery": {"drain 0s", syscall.SIGTERM},
		"killed":           {"drain 0s\nrecovery 2m", syscall.SIGKILL},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.WithGuests, restartConfig(test.hub))
			clients := startReturningClients(t, s)
			s.Signal(test.end)
			s.Wait()
			s.Run()
			for _, c := range clients {
				if c.waitReturned() {
					t.Error("a client is recovered")
				}
			}
			if n := s.Log.Count(0, "recovery saved"); n > 0 {
				t.Error("something was saved")
			}
		})
	}
}

// TestExitAwaitsAcks checks that an exit waits for acks on their way, within the drain.
func TestExitAwaitsAcks(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.WithGuests, restartConfig("drain 15s"))
	clients := startReturningClients(t, s)
	for i, c := range clients {
		c.Tell(fmt.Sprintf("hold restart-%d-%d", s.Port, i))
		c.Expect("holding", nil)
	}
	releaser := s.OpenWebSocket(t)
	releaser.Connect()
	s.Signal(syscall.SIGTERM)
	s.WaitHealth("draining", func(h harness.Health) bool { return h.Draining })
	for i := range clients {
		releaser.Send(fmt.Sprintf(`42["release","restart-%d-%d"]`, s.Port, i))
	}
	for _, c := range clients {
		var label string
		if c.Expect("held", &label); label != "" {
			t.Errorf("the ack is %q", label)
		}
		c.Expect("disconnected", nil)
		c.Kill()
	}
	s.Wait()
}

// TestExitBesideOthers checks that a server stores its state before it waits for
// requests of other handlers. An operator may kill it while it waits.
func TestExitBesideOthers(t *testing.T) {
	t.Parallel()
	hung := hangingService(t)
	c := restartConfig("drain 0s\nrecovery 2m")
	c.Site += "\nreverse_proxy /other " + hung.Addr().String()
	s := harness.Start(t, harness.WithGuests, c)
	client := startReturningClients(t, s)[0]
	for range 4 { // Caddy stops its apps in random order
		client.Tell("ask enter room")
		client.Expect("answered", nil)
		other, err := net.Dial("tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = other.Close() }) // so that the server can end if the test fails
		if _, err := fmt.Fprintf(other, "GET /other HTTP/1.1\r\nHost: %s\r\n\r\n", s.Address()); err != nil {
			t.Fatal(err)
		}
		asked, err := hung.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = asked.Close() })
		mark := s.Log.Mark()
		s.Signal(syscall.SIGTERM)
		s.Log.Wait(t, mark, "recovery saved")
		s.Kill()
		_ = asked.Close()
		_ = other.Close()
		s.Run()
		if !client.waitReturned() {
			t.Error("a client is not recovered")
		}
	}
}

// TestReloadAtExit loads a configuration while the server exits. It must not take what
// is stored for the next process.
func TestReloadAtExit(t *testing.T) {
	t.Parallel()
	c := restartConfig("drain 5s\nrecovery 2m")
	s := harness.Start(t, harness.WithGuests, c)
	s.AllowError("request error") // of the reload
	client := startReturningClients(t, s)[0]
	client.Tell("ask enter room")
	client.Expect("answered", nil)
	c.Site += "\nrespond /new new"
	path := s.WriteConfig("Caddyfile.new", c)
	s.Signal(syscall.SIGTERM)
	s.WaitHealth("draining", func(h harness.Health) bool { return h.Draining })
	if status, answer := s.Reload(path); status == http.StatusOK || !strings.Contains(answer, "is exiting") {
		t.Errorf("the reload is answered %d %s", status, answer)
	}
	s.Wait()
	s.Run()
	if !client.waitReturned() {
		t.Error("a client is not recovered")
	}
}

// hangingService accepts connections and never answers, until the test ends.
func hangingService(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}
