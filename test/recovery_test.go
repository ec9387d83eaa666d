package test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A cutter is a TCP proxy whose connections can be cut, all at once.
type cutter struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]struct{}
	pipes sync.WaitGroup
}

func startCutter(t *testing.T, target string) *cutter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: listener, target: target, conns: make(map[net.Conn]struct{})}
	c.pipes.Go(c.accept)
	t.Cleanup(func() {
		listener.Close()
		c.cut()
		c.pipes.Wait()
	})
	return c
}

func (c *cutter) url() string { return "http://" + c.listener.Addr().String() }

func (c *cutter) accept() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", c.target)
		if err != nil {
			client.Close()
			continue
		}
		if !c.connect(client, server) {
			client.Close()
			server.Close()
		}
	}
}

func (c *cutter) connect(client, server net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return false
	}
	c.conns[client], c.conns[server] = struct{}{}, struct{}{}
	c.pipes.Go(func() { c.pipe(client, server) })
	c.pipes.Go(func() { c.pipe(server, client) })
	return true
}

func (c *cutter) pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	to.Close()
	from.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, to)
	delete(c.conns, from)
}

// cut resets every connection, and lets none through until mend is called: what
// is on its way is lost.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = true
	for conn := range c.conns {
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

func (c *cutter) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = false
}

// recovering is a configuration with recovery.
func recovering(options, more string) config {
	return config{
		global: "realtime {\n\t\tdrain 0s\n\t\trecovery " + options + "\n\t}",
		// Whoever is lost between two polls is missed only when a ping is due.
		site: "realtime {\n\t\twebsocket /ws\n\t\thandler echo\n\t\tping 500ms 5s\n" + more + "\t}",
	}
}

// Clients lose their connections, by all transports and in two ways, while
// events flow; the configuration changes while they are away.
func TestRecovery(t *testing.T) {
	t.Parallel()
	const rounds = 12
	for _, transports := range everyTransport {
		for _, how := range []string{"cut", "close"} {
			t.Run(transports+"/"+how, func(t *testing.T) {
				t.Parallel()
				s := start(t, withGuest, recovering("5m", ""))
				proxy := startCutter(t, s.address())
				n := s.startNode(t, "recovery.mjs", "TRANSPORTS", transports, "HOW", how,
					"ROUNDS", fmt.Sprint(rounds), "PROXY_URL", proxy.url())
				for round := range rounds {
					mark := s.log.mark()
					var client struct{ ID string }
					n.expect(how, &client)
					if how == "cut" {
						proxy.cut()
					}
					s.log.wait(t, mark, "socket disconnected", "socket", client.ID)
					if round%5 == 2 {
						s.mustReload(recovering("5m 20000", fmt.Sprintf("\t\tnamespaces / /round-%d\n", round)))
					}
					proxy.mend()
					n.tell("back")
				}
				var whole struct {
					PID   string
					Count int
				}
				n.expect("whole", &whole)
				t.Logf("%d events have been heard", whole.Count)
				for _, l := range s.log.since(0) {
					if strings.Contains(l.text, whole.PID) {
						t.Errorf("the log has the private id: %s", l.text)
					}
				}

				s.mustReload(recovering("200ms", ""))
				mark := s.log.mark()
				n.tell("leave")
				var client struct{ ID string }
				n.expect("late", &client)
				s.log.wait(t, mark, "socket disconnected", "socket", client.ID)
				time.Sleep(time.Second) // the window itself is what is tested
				n.tell("back")
				n.expect("anew", nil)
				n.finish()
			})
		}
	}
}
