package test

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A survivor is a client that comes back to a server which has restarted.
type survivor struct {
	*node
	id string
}

// survivors starts one client for each transport.
func (s *server) survivors(t *testing.T) []*survivor {
	t.Helper()
	var all []*survivor
	for _, transports := range everyTransport {
		c := &survivor{node: s.startNode(t, "restart.mjs", "TRANSPORTS", transports)}
		if c.connects() {
			t.Error("a new client is recovered")
		}
		all = append(all, c)
	}
	return all
}

// connects waits until the client has connected, and reports whether it is
// recovered.
func (c *survivor) connects() (recovered bool) {
	c.t.Helper()
	var how struct {
		ID        string
		Recovered bool
	}
	c.expect("connected", &how)
	if how.Recovered && how.ID != c.id {
		c.t.Errorf("a client is recovered as %s and was %s", how.ID, c.id)
	}
	c.id = how.ID
	return how.Recovered
}

// returns waits until the client has lost its connection and has another one.
func (c *survivor) returns() (recovered bool) {
	c.t.Helper()
	c.expect("disconnected", nil)
	return c.connects()
}

// lasting is a site whose clients come back, and whose backend has a key.
func lasting(hub string) config {
	return config{
		global: "realtime {\n" + hub + "\n}",
		site: `realtime {
			authenticator token
			handler echo
			ping 500ms 20s
			api /api/realtime {
				key ` + firstKey + `
			}
		}`,
	}
}

// A press publishes numbered news, one after the other.
type press struct {
	s        *server
	t        *testing.T
	next     int
	accepted []int
	unknown  []int // whether these were accepted
}

// publish says one piece of news, and reports whether it has been accepted.
func (p *press) publish() bool {
	p.t.Helper()
	body := fmt.Sprintf(`{"to":["org:ann"],"event":"news","args":[%d]}`, p.next)
	a, err := p.s.try(p.t.Context(), "POST", "/api/realtime/emit", body, "Authorization", "Bearer "+firstKey, "Content-Type", "application/json")
	p.next++
	switch {
	case err != nil:
		p.unknown = append(p.unknown, p.next-1)
		return false
	case a.status == http.StatusAccepted:
		p.accepted = append(p.accepted, p.next-1)
		return true
	case a.status != http.StatusServiceUnavailable:
		p.t.Errorf("news are answered %d %s", a.status, a.body)
	}
	return false
}

// check holds what a client has heard against what was accepted.
func (p *press) check(heard []int) {
	p.t.Helper()
	certain := slices.DeleteFunc(slices.Clone(heard), func(n int) bool { return slices.Contains(p.unknown, n) })
	if !slices.Equal(certain, p.accepted) || !slices.IsSorted(heard) {
		p.t.Errorf("a client has heard\n%v, not\n%v", heard, p.accepted)
	}
}

// A server that exits and starts again has the sockets of all who come back to
// it, with all that they have missed.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := start(t, withGuest, lasting("drain 3s\nrecovery 2m")) // long enough for some news
	clients := s.survivors(t)
	news := &press{s: s, t: t}
	for round := range 3 {
		for range 3 {
			news.publish()
		}
		for _, c := range clients { // they have to have an offset
			c.tell("ask enter room-" + fmt.Sprint(round))
			c.expect("answered", nil)
		}
		s.signal(syscall.SIGTERM)
		for news.publish() {
			time.Sleep(10 * time.Millisecond) // between two pieces of news, while the server drains
		}
		s.wait()
		s.run()
		for _, c := range clients {
			if !c.returns() {
				t.Errorf("round %d: a client is not recovered", round)
			}
			c.tell("ask whoami")
			var known struct {
				ID, User string
				Rooms    []string
			}
			c.expect("answered", &known)
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
		c.tell("ask message-with-ack") // what is accepted before is sent before
		c.expect("answered", nil)
		c.tell("heard")
		var heard []int
		c.expect("heard", &heard)
		news.check(heard)
		c.tell("leave")
		c.expect("disconnected", nil)
		c.finish()
	}
	t.Logf("%d pieces of news were accepted, %d perhaps", len(news.accepted), len(news.unknown))
	if len(news.accepted) < 15 {
		t.Error("there was too little news")
	}
}

// Without recovery a restart leaves nothing behind, and after a crash there is
// nothing to take over.
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
			s := start(t, withGuest, lasting(test.hub))
			clients := s.survivors(t)
			s.signal(test.end)
			s.wait()
			s.run()
			for _, c := range clients {
				if c.returns() {
					t.Error("a client is recovered")
				}
			}
			if n := s.log.count(0, "recovery saved"); n > 0 {
				t.Error("something was saved")
			}
		})
	}
}

// An exit waits for acks that are on their way, within the window.
func TestExitAwaitsAcks(t *testing.T) {
	t.Parallel()
	s := start(t, withGuest, lasting("drain 15s"))
	clients := s.survivors(t)
	for i, c := range clients {
		c.tell(fmt.Sprintf("hold restart-%d-%d", s.port, i))
		c.expect("holding", nil)
	}
	releaser := s.openWire(t)
	releaser.connect()
	s.signal(syscall.SIGTERM)
	s.waitHealth("draining", func(h health) bool { return h.Draining })
	for i := range clients {
		releaser.send(fmt.Sprintf(`42["release","restart-%d-%d"]`, s.port, i))
	}
	for _, c := range clients {
		var label string
		if c.expect("held", &label); label != "" {
			t.Errorf("the ack is %q", label)
		}
		c.expect("disconnected", nil)
		c.kill()
	}
	s.wait()
}

// What a server owes is written down before it waits for requests that are not
// ours, which whoever ends it may have no patience for.
func TestExitBesideOthers(t *testing.T) {
	t.Parallel()
	hung := hangingService(t)
	c := lasting("drain 0s\nrecovery 2m")
	c.site += "\nreverse_proxy /other " + hung.Addr().String()
	s := start(t, withGuest, c)
	client := s.survivors(t)[0]
	for range 4 { // Caddy stops its apps in any order
		client.tell("ask enter room")
		client.expect("answered", nil)
		other, err := net.Dial("tcp", s.address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = other.Close() }) // should the test fail, the server can end
		if _, err := fmt.Fprintf(other, "GET /other HTTP/1.1\r\nHost: %s\r\n\r\n", s.address()); err != nil {
			t.Fatal(err)
		}
		asked, err := hung.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = asked.Close() })
		mark := s.log.mark()
		s.signal(syscall.SIGTERM)
		s.log.wait(t, mark, "recovery saved")
		s.kill()
		_ = asked.Close()
		_ = other.Close()
		s.run()
		if !client.returns() {
			t.Error("a client is not recovered")
		}
	}
}

// A configuration that comes while the server exits, and for which Caddy finds
// time before its end, does not take what is written for the next process.
func TestReloadAtExit(t *testing.T) {
	t.Parallel()
	c := lasting("drain 5s\nrecovery 2m")
	s := start(t, withGuest, c)
	s.mayLog("request error") // of the reload
	client := s.survivors(t)[0]
	client.tell("ask enter room")
	client.expect("answered", nil)
	c.site += "\nrespond /new new"
	path := s.write("Caddyfile.new", c)
	s.signal(syscall.SIGTERM)
	s.waitHealth("draining", func(h health) bool { return h.Draining })
	if status, answer := s.reload(path); status == http.StatusOK || !strings.Contains(answer, "is exiting") {
		t.Errorf("the reload is answered %d %s", status, answer)
	}
	s.wait()
	s.run()
	if !client.returns() {
		t.Error("a client is not recovered")
	}
}

// hangingService listens until the test ends.
func hangingService(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}
