package plainws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A beat is a ping or a close frame that a client gets.
type beat struct {
	after time.Duration // since the start
	what  string
}

// watch reads until the connection ends. answer returns how long the client takes to answer a
// ping, and whether it answers.
func watch(ws *websocket.Conn, begin time.Time, answer func(n int) (time.Duration, bool)) <-chan []beat {
	beats := make(chan []beat, 1)
	var seen []beat
	note := func(what string) { seen = append(seen, beat{time.Since(begin), what}) }
	ws.SetPingHandler(func(string) error {
		note("ping")
		if delay, ok := answer(len(seen)); ok {
			time.AfterFunc(delay, func() { _ = ws.WriteControl(websocket.PongMessage, nil, time.Time{}) })
		}
		return nil
	})
	go func() {
		for {
			_, _, err := ws.ReadMessage()
			if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
				note(fmt.Sprint("close ", closed.Code))
			}
			if err != nil {
				beats <- seen
				return
			}
		}
	}()
	return beats
}

func TestHeartbeat(t *testing.T) {
	const interval, timeout = 25 * time.Second, 20 * time.Second
	tests := []struct {
		name   string
		answer func(n int) (time.Duration, bool)
		want   []beat
	}{
		{"never answers", func(int) (time.Duration, bool) { return 0, false },
			[]beat{{25 * time.Second, "ping"}, {45 * time.Second, "close 1005"}}},
		{"answers too late", func(int) (time.Duration, bool) { return timeout + time.Second, true },
			[]beat{{25 * time.Second, "ping"}, {45 * time.Second, "close 1005"}}},
		{"answers once, at once", func(n int) (time.Duration, bool) { return 0, n == 1 },
			[]beat{{25 * time.Second, "ping"}, {50 * time.Second, "ping"}, {70 * time.Second, "close 1005"}}},
		{"answers twice, in the last moment", func(n int) (time.Duration, bool) { return timeout - time.Millisecond, n <= 2 },
			// The next ping is an interval after the answer.
			[]beat{{25 * time.Second, "ping"}, {70*time.Second - time.Millisecond, "ping"}, {115*time.Second - 2*time.Millisecond, "ping"}, {135*time.Second - 2*time.Millisecond, "close 1005"}}},
	}
	for _, test := range tests {
		for _, format := range []Format{JSON, Raw} {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, format, handled(), Options{Options: connection.Options{PingInterval: interval, PingTimeout: timeout}})
				begin := time.Now()
				got := <-watch(f.connect(t), begin, test.answer)
				if !slices.Equal(got, test.want) {
					t.Errorf("%s: %v, want %v", test.name, got, test.want)
				}
				synctest.Wait()
				if got := f.reasons(); !slices.Equal(got, []string{"ping timeout"}) {
					t.Errorf("%s: %q", test.name, got)
				}
			})
		}
	}
}

// TestUnaskedPongs floods the server with pongs. They neither postpone the next ping nor count
// as an answer to it.
func TestUnaskedPongs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, JSON, handled(), Options{Options: connection.Options{PingInterval: 25 * time.Second, PingTimeout: 20 * time.Second}})
		begin := time.Now()
		ws := f.connect(t)
		beats := watch(ws, begin, func(int) (time.Duration, bool) { return 0, false })
		go func() {
			for time.Since(begin) < 24*time.Second {
				for range 100 {
					if ws.WriteControl(websocket.PongMessage, []byte("x"), time.Time{}) != nil {
						return
					}
				}
				time.Sleep(time.Second)
			}
		}()
		if got, want := <-beats, []beat{{25 * time.Second, "ping"}, {45 * time.Second, "close 1005"}}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

// TestHeartbeatWhileHandling has a handler that takes longer than the ping timeout. The
// connection stays, since the client's pong is not read meanwhile.
func TestHeartbeatWhileHandling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, JSON, handled(guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
			time.Sleep(5 * time.Minute)
			return true, e.Ack()
		}}), Options{Options: connection.Options{PingInterval: 25 * time.Second, PingTimeout: 20 * time.Second}})
		ws, _ := f.join(t)
		ws.SetPingHandler(func(string) error {
			go func() { _ = ws.WriteControl(websocket.PongMessage, nil, time.Time{}) }() // is taken when the server reads
			return nil
		})
		write(t, ws, `{"event":"slow","id":1}`)
		if got := read(ws); got != `{"ack":1,"args":[]}` {
			t.Errorf("got %s", got)
		}
		write(t, ws, `{"event":"slow","id":2}`)
		if got := read(ws); got != `{"ack":2,"args":[]}` {
			t.Errorf("got %s", got)
		}
	})
}

// TestHeartbeatChanges changes the settings while a connection is open.
func TestHeartbeatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, JSON, handled(), Options{Options: connection.Options{PingInterval: 25 * time.Second, PingTimeout: 20 * time.Second}})
		begin := time.Now()
		ws := f.connect(t)
		beats := watch(ws, begin, func(n int) (time.Duration, bool) { return 0, n < 3 })
		time.Sleep(time.Second)
		f.mu.Lock()
		f.options.PingInterval, f.options.PingTimeout = 5*time.Second, time.Second
		f.mu.Unlock()
		want := []beat{{25 * time.Second, "ping"}, {30 * time.Second, "ping"}, {35 * time.Second, "ping"}, {36 * time.Second, "close 1005"}}
		if got := <-beats; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}
