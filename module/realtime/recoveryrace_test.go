package realtime_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// Several goroutines emit in every way while clients lose their connections and recover.
func TestRecoveryConcurrently(t *testing.T) {
	const rounds, publishers = 15, 2
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Hour, MaxEvents: 1 << 20}}), realtime.Policy{})
	ns := e.Hub().Namespace("/")
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	// However slow the clients are, no more is sent than the history keeps.
	const each = 300 // for each connection
	var sent, due atomic.Int64
	due.Store(each)
	publish := func(name string, emit func(event string) error) {
		publishing.Go(func() {
			for i := 1; ; {
				select {
				case <-stop:
					return
				default:
				}
				// What Emit refuses is sent again.
				if sent.Load() < due.Load() && emit(fmt.Sprint(name, " ", i)) == nil {
					i++
					sent.Add(1)
				}
				runtime.Gosched()
			}
		})
	}
	var clients []*recoverableClient
	for i := range 6 {
		c := &recoverableClient{e: e}
		if _, err := c.connect(0); err != nil {
			t.Fatal(err)
		}
		c.socket.Join("room")
		clients = append(clients, c)
		var current atomic.Pointer[realtime.Socket]
		current.Store(c.socket)
		c.onConnect = current.Store
		id := c.socket.ID()
		publish(fmt.Sprint("emit-", i), func(event string) error { return current.Load().Emit(context.Background(), event) })
		publish(fmt.Sprint("own-", i), func(event string) error { return ns.To(id).Emit(context.Background(), event) })
	}
	for i := range publishers {
		publish(fmt.Sprint("all-", i), func(event string) error { return ns.To().Emit(context.Background(), event) })
		publish(fmt.Sprint("room-", i), func(event string) error { return ns.To("room").Emit(context.Background(), event) })
		publish(fmt.Sprint("both-", i), func(event string) error {
			return ns.To("room", "other").Except("nobody").Emit(context.Background(), event)
		})
		publishing.Go(func() { // another client that connects and disconnects
			for {
				select {
				case <-stop:
					return
				default:
				}
				m := join(t, e, "room")
				_ = m.Emit(context.Background(), "to somebody else")
				m.HandleDisconnect("client namespace disconnect")
			}
		})
	}
	var living sync.WaitGroup
	for i, c := range clients {
		living.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 2))
			for range rounds {
				for c.conn.waiting() < 10 {
					runtime.Gosched()
				}
				c.receive(1 + random.IntN(20))
				c.disconnect("transport close")
				due.Add(each)
				if recovered, err := c.connect(0); err != nil || !recovered {
					t.Errorf("client %d: recovered %v, %v", i, recovered, err)
					return
				}
			}
		})
	}
	living.Wait()
	close(stop)
	publishing.Wait()
	total := 0
	for i, c := range clients {
		c.receive(1 << 30)
		total += len(c.received)
		if problem := gaps(c.received); problem != "" {
			t.Errorf("client %d: %s", i, problem)
		}
	}
	t.Logf("%d events were received by %d connections", total, rounds*len(clients))
	if problem := gaps([]string{"a 4", "b 1", "a 5", "a 7"}); problem == "" {
		t.Error("a gap is not detected")
	}
}

// gaps reports the first event that is not the next one of its publisher.
func gaps(events []string) string {
	last := make(map[string]int)
	for _, event := range events {
		name, digits, _ := strings.Cut(event, " ")
		number, err := strconv.Atoi(digits)
		if before, known := last[name]; err != nil || known && number != before+1 {
			return fmt.Sprintf("%q follows number %d of %q", event, before, name)
		}
		last[name] = number
	}
	return ""
}
