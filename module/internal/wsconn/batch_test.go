package wsconn

import (
	"bytes"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// TestBatch: the answers to messages that arrive together leave together.
func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		counted := &countingConn{Conn: near}
		answer := make(chan int)
		go func() {
			buffer := make([]byte, 1000)
			for {
				n, err := far.Read(buffer)
				if err != nil {
					close(answer)
					return
				}
				answer <- n
			}
		}()
		c := accept(t, counted, 1000)
		<-answer // to the handshake
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer end(c)
			for {
				_, payload, err := c.Read(atMost(100))
				if err != nil {
					return
				}
				if err := c.SendIn(c.Batch(), Frame(Text, payload)); err != nil {
					t.Error(err)
				}
			}
		}()
		for _, together := range []int{1, 3, 10, 1} {
			writes := counted.writes
			p := &peer{Conn: far}
			p.send(t, bytes.Repeat(masked(fin|Text, "x"), together))
			if got := <-answer; got != 3*together {
				t.Errorf("%d answers in %d bytes", together, got)
			}
			synctest.Wait()
			if counted.writes != writes+1 {
				t.Errorf("%d answers in %d writes", together, counted.writes-writes)
			}
		}
		far.Close()
		<-done
	})
}

type countingConn struct {
	net.Conn
	writes int
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes++
	return c.Conn.Write(p)
}

// TestHold: an answer that is held back leaves with what is sent in the connection's batch.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o := Options{Queue: fixed(1000), Hold: true}
		c, err := Upgrade(&hijackable{conn: near, header: make(http.Header)}, upgradeRequest(), o)
		if err != nil {
			t.Fatal(err)
		}
		written := make(chan string, 10)
		go func() {
			defer close(written)
			buffer := make([]byte, 1000)
			for {
				n, err := far.Read(buffer)
				if err != nil {
					return
				}
				written <- string(buffer[:n])
			}
		}()
		synctest.Wait()
		if len(written) > 0 {
			t.Errorf("not held back: %q", <-written)
		}
		if err := c.SendIn(c.Batch(), Frame(Text, []byte("first"))); err != nil {
			t.Fatal(err)
		}
		c.Batch().Close()
		if got := <-written; !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.HasSuffix(got, "first") {
			t.Errorf("written first: %q", got)
		}
		_ = far.Close()
		c.Release()
		<-written
	})
}

// TestBatchEnds: however a connection ends, what was sent to another one in its batch
// arrives there.
func TestBatchEnds(t *testing.T) {
	for name, last := range map[string][]byte{
		"closed":             masked(fin|closing, ""),
		"breach":             masked(fin|3, ""),
		"too big":            masked(fin|Text, strings.Repeat("x", 101)),
		"cut off":            nil,
		"half a frame":       {0x81},
		"another, not read":  masked(fin|Text, "more"),
		"a flood, not read":  bytes.Repeat(masked(fin|Text, "more"), 1000),
		"a breach, not read": slices.Concat(masked(fin|Text, "more"), masked(fin|3, "")),
	} {
		synctest.Test(t, func(t *testing.T) {
			c, p := pipe(t)
			other, otherPeer := pipe(t)
			got := make(chan frame, 10)
			go func() {
				defer close(got)
				for {
					f, err := otherPeer.read()
					if err != nil {
						return
					}
					got <- f
				}
			}()
			go func() { p.rest(t) }()
			go func() {
				_, _ = p.Write(slices.Concat(masked(fin|Text, "first"), last))
				p.Close()
			}()
			if _, _, err := c.Read(atMost(100)); err != nil {
				t.Fatal(err)
			}
			batch := c.Batch()
			if err := other.SendIn(batch, Frame(Text, []byte("in time"))); err != nil {
				t.Error(err)
			}
			if !strings.HasSuffix(name, "not read") {
				if _, _, err := c.Read(atMost(100)); err == nil {
					t.Error("no error")
				}
			}
			end(c)
			synctest.Wait()
			inTime := len(got)
			if err := other.SendIn(batch, Frame(Text, []byte("late"))); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			late := len(got) - inTime
			otherPeer.Close()
			other.Release()
			for range got {
			}
			if inTime != 1 || late != 1 {
				t.Errorf("%s: %d of 1 messages in time, %d of 1 late", name, inTime, late)
			}
		})
	}
}
