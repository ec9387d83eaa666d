package lifecycle

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A client is the owner of a connection without a transport. It records what the connection
// does, with the time since the connection was opened.
type client struct {
	Connection

	opened  time.Time
	running sync.WaitGroup
	unsent  error         // what Ping returns
	answers func() bool   // whether the client answers a ping; nil: never
	after   time.Duration // how long that takes

	interval, timeout time.Duration
	log               []string // guarded by the connection
	heartbeats        *Heartbeats
}

func newClient() *client {
	c := &client{heartbeats: new(Heartbeats), opened: time.Now(), interval: 25 * time.Second, timeout: 20 * time.Second}
	c.Init(c)
	c.running.Add(1)
	return c
}

func (c *client) note(what string) {
	c.log = append(c.log, fmt.Sprint(time.Since(c.opened), " ", what))
}

func (c *client) end(why string) {
	if c.EndLocked() {
		c.note(why)
		c.Finish(why, "memory", nil)
	}
}

// wait waits for the end of the connection, and reports what is not as it should be.
func (c *client) wait(t *testing.T, want ...string) {
	t.Helper()
	c.running.Wait()
	if !slices.Equal(c.log, want) {
		t.Errorf("%q, want %q", c.log, want)
	}
}

func (c *client) ID() string              { return "id" }
func (c *client) Opened() time.Time       { return c.opened }
func (c *client) Heartbeats() *Heartbeats { return c.heartbeats }
func (c *client) Begin()                  { c.running.Add(1) }
func (c *client) Done()                   { c.running.Done() }

func (c *client) Settings() Settings {
	return Settings{PingInterval: c.interval, PingTimeout: c.timeout, Logger: zap.NewNop()}
}

func (c *client) Receive(*wsconn.Conn, int, []byte) bool { return false }

func (c *client) Ended(why string) {
	c.Lock()
	defer c.Unlock()
	c.note("told of " + why)
}

func (c *client) Ping() error {
	c.note("ping")
	if c.answers != nil && c.answers() {
		time.AfterFunc(c.after, c.Pong)
	}
	return c.unsent
}

func (c *client) Expire(unsent error) {
	if unsent != nil {
		c.note(unsent.Error())
	}
	c.end("ping timeout")
}

func (c *client) Fail(why string, _ error) { c.end(why) }

// start pings the client.
func (c *client) start(told time.Duration) {
	c.Lock()
	defer c.Unlock()
	c.StartPingingLocked(told)
}

// times returns a function that reports true n times.
func times(n int) func() bool {
	return func() bool {
		n--
		return n >= 0
	}
}

func TestClientAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient()
		c.answers, c.after = times(2), 5*time.Second
		c.start(0)
		c.wait(t, "25s ping", "55s ping", "1m25s ping", "1m45s ping timeout", "1m45s told of ping timeout")
	})
}

// TestIntervalChanges changes the interval of an open connection. A client that was told the
// interval relies on it.
func TestIntervalChanges(t *testing.T) {
	for told, want := range map[time.Duration][]string{
		0:                {"25s ping", "1m25s ping", "1m45s ping timeout", "1m45s told of ping timeout"},
		25 * time.Second: {"25s ping", "50s ping", "1m10s ping timeout", "1m10s told of ping timeout"},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient()
			c.answers = times(1)
			c.start(told)
			c.Lock() // as the heartbeat does when it asks
			c.interval = time.Minute
			c.Unlock()
			c.wait(t, want...)
		})
	}
}

// TestClientSends: a client that sends messages, but no pong, has one more time-out.
func TestClientSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient()
		c.start(0)
		time.Sleep(time.Second / 2) // so that no message is handled at the very time of a check
		for range 100 {
			time.Sleep(time.Second)
			c.Hold()
			c.Received()
			c.Resume()
		}
		c.wait(t, "25s ping", "1m5s ping timeout", "1m5s told of ping timeout")
	})
}

// TestMessageIsHandled: while a message is being handled, no pong can be read, and the end of the
// connection waits.
func TestMessageIsHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient()
		c.start(0)
		c.Hold()
		if !c.Received() || !c.Busy(func() bool { return false }) {
			t.Error("the connection handles no message")
		}
		time.Sleep(10 * time.Minute)
		c.Lock()
		c.end("forced close")
		c.end("again")
		c.Unlock()
		if c.Busy(func() bool { return true }) || c.TryBegin() || c.Received() {
			t.Error("the connection has not ended")
		}
		c.Lock()
		if len(c.log) != 2 {
			t.Errorf("the owner is told of the end while it handles a message: %q", c.log)
		}
		c.Unlock()
		c.Resume()
		c.wait(t, "25s ping", "10m0s forced close", "10m0s told of forced close")
	})
}

func TestPingCannotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient()
		c.unsent = errors.New("broken")
		c.start(0)
		c.wait(t, "25s ping", "25s broken", "25s ping timeout", "25s told of ping timeout")
	})
}

// TestClientPings: where the client pings, each of its pings postpones the end, and a message does
// not.
func TestClientPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient()
		c.Lock()
		c.StartListeningLocked(25 * time.Second)
		c.Unlock()
		time.Sleep(40 * time.Second)
		c.Pinged()
		time.Sleep(40 * time.Second)
		c.Hold()
		c.Received()
		c.Resume()
		c.wait(t, "1m25s ping timeout", "1m25s told of ping timeout")
	})
}

// TestPingedInTime: the client pings when the connection has just been taken out to be ended.
func TestPingedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient()
		c.Lock()
		c.StartListeningLocked(25 * time.Second)
		c.Unlock()
		time.Sleep(40 * time.Second)
		c.Pinged()
		c.beat()
		c.wait(t, "1m25s ping timeout", "1m25s told of ping timeout")
	})
}

// TestManyHeartbeats: each of many connections is pinged on time, also if it is due before all that
// came earlier, and those that have ended are forgotten.
func TestManyHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := new(Heartbeats)
		clients := make([]*client, 100)
		for i := range clients {
			c := newClient()
			c.heartbeats = shared
			c.interval, c.timeout = time.Duration(len(clients)-i)*time.Second, time.Second/2
			c.answers = times(i % 3)
			c.start(0)
			clients[i] = c
		}
		for i, c := range clients {
			if i%5 == 0 {
				c.Lock()
				c.end("forced close")
				c.Unlock()
			}
		}
		for i, c := range clients {
			if i%5 == 0 {
				c.wait(t, "0s forced close", "0s told of forced close")
				continue
			}
			var want []string
			due := time.Duration(0)
			for range i%3 + 1 {
				due += c.interval
				want = append(want, fmt.Sprint(due, " ping"))
			}
			end := due + c.timeout
			c.wait(t, append(want, fmt.Sprint(end, " ping timeout"), fmt.Sprint(end, " told of ping timeout"))...)
		}
		synctest.Wait()
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if n := shared.queue.Len(); n > 0 || !shared.fires.IsZero() {
			t.Errorf("%d connections are left, and the timer fires at %v", n, shared.fires)
		}
	})
}

// TestBusy: a connection is busy as long as its owner says so.
func TestBusy(t *testing.T) {
	c := newClient()
	for _, pending := range []bool{true, false} {
		if c.Busy(func() bool { return pending }) != pending {
			t.Errorf("busy is not %v", pending)
		}
	}
	if !c.TryBegin() {
		t.Error("nothing may begin on a connection that is open")
	}
	c.Done()
	c.Lock()
	c.end("forced close")
	c.Unlock()
	c.running.Wait()
}

// Interface guard
var _ Owner = (*client)(nil)
