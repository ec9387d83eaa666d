package realtime_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestEncodingOnce(t *testing.T) {
	type format struct{ compressed bool }
	formats := []any{format{false}, format{true}, "text", 1, struct{}{}}
	var calls [5]atomic.Int32
	m := &realtime.Message{Event: "event"}
	var running sync.WaitGroup
	for range 20 {
		for i, f := range formats {
			running.Go(func() {
				got := m.Encoding(f, func(given *realtime.Message) any {
					if given != m {
						t.Error("another message to encode")
					}
					return fmt.Sprint(i, calls[i].Add(1))
				})
				if want := fmt.Sprint(i, 1); got != want {
					t.Errorf("format %v: got %v, want %v", f, got, want)
				}
			})
		}
	}
	running.Wait()
	for i := range calls {
		if n := calls[i].Load(); n != 1 {
			t.Errorf("format %v was encoded %d times", formats[i], n)
		}
	}
}

// Recipients of two formats share one message.
func TestEncodingOfBroadcast(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{})
	var encoded atomic.Int32
	var values sync.Map
	for i := range 100 {
		m := join(t, e, "room")
		m.client.onDeliver = func(message *realtime.Message) error {
			value := message.Encoding(i%2, func(*realtime.Message) any {
				encoded.Add(1)
				return new(int)
			})
			values.Store(value, true)
			return nil
		}
	}
	if err := e.Hub().Namespace("/").To("room").Emit(t.Context(), "event"); err != nil {
		t.Fatal(err)
	}
	different := 0
	values.Range(func(any, any) bool { different++; return true })
	if encoded.Load() != 2 || different != 2 {
		t.Errorf("encoded %d times into %d values, want 2", encoded.Load(), different)
	}
}
