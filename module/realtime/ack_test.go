package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// request sends a request from a goroutine. The channel receives its outcome.
func request(ctx context.Context, m *member, event string, args ...realtime.Arg) <-chan string {
	outcome := make(chan string, 1)
	go func() {
		answer, err := m.Request(ctx, event, args...)
		outcome <- fmt.Sprint(texts(answer), err)
	}()
	return outcome
}

func TestRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := open(hub(t, realtime.Options{}), realtime.Policy{})
		m, other := join(t, e), join(t, e)
		first := request(t.Context(), m, "first", arg("1"))
		synctest.Wait()
		second := request(t.Context(), m, "second")
		synctest.Wait()
		equal(t, "events", m.client.events(), []string{"first", "second"})
		numbers := []uint64{m.client.received()[0].Ack, m.client.received()[1].Ack}
		if numbers[0] == 0 || numbers[1] == 0 || numbers[0] == numbers[1] {
			t.Fatalf("numbers %d", numbers)
		}

		other.HandleAck(numbers[0], []realtime.Arg{arg(`"not mine"`)})
		m.HandleAck(0, []realtime.Arg{arg(`"zero"`)})
		m.HandleAck(numbers[1]+1, []realtime.Arg{arg(`"nobody asked"`)})
		synctest.Wait()
		select {
		case got := <-first:
			t.Fatal("answered by what is no answer:", got)
		default:
		}
		// The acks come out of order, and one of them twice.
		m.HandleAck(numbers[1], []realtime.Arg{arg("true"), arg("null")})
		m.HandleAck(numbers[1], []realtime.Arg{arg("false")})
		m.HandleAck(numbers[0], nil)
		equal(t, "answers", []string{<-first, <-second}, []string{"[] <nil>", "[true null] <nil>"})
	})
}

func TestRequestFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := open(hub(t, realtime.Options{}), realtime.Policy{})
		m := join(t, e)

		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		if got := <-request(ctx, m, "unanswered"); got != "[] context deadline exceeded" {
			t.Error(got)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("timed out after %v", took)
		}
		late := m.client.received()[0].Ack
		m.HandleAck(late, []realtime.Arg{arg(`"late"`)})

		why := errors.New("the operator gave up")
		cancelled, stop := context.WithCancelCause(t.Context())
		waiting := request(cancelled, m, "cancelled")
		synctest.Wait()
		stop(why)
		if got := <-waiting; got != "[] the operator gave up" {
			t.Error(got)
		}

		broken := errors.New("broken pipe")
		m.client.onDeliver = func(*realtime.Message) error { return broken }
		if got := <-request(t.Context(), m, "undeliverable"); got != "[] broken pipe" {
			t.Error(got)
		}
		m.client.onDeliver = nil

		var all []<-chan string
		for range 3 {
			all = append(all, request(t.Context(), m, "interrupted"))
		}
		synctest.Wait()
		m.HandleDisconnect("transport close")
		for _, one := range all {
			if got := <-one; got != "[] socket is disconnected" {
				t.Error(got)
			}
		}
		sent := len(m.client.events())
		if _, err := m.Request(t.Context(), "too late"); !errors.Is(err, realtime.ErrDisconnected) {
			t.Error(err)
		}
		m.HandleAck(late+1, nil)
		if len(m.client.events()) != sent {
			t.Error("an event was sent to a socket that is gone")
		}
	})
}

// Acks, timeouts and a disconnect race with one another.
func TestRequests(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{})
	for range 20 {
		m := join(t, e)
		m.client.onDeliver = func(message *realtime.Message) error {
			if message.Ack%3 == 0 {
				go m.HandleAck(message.Ack, message.Args)
			}
			return nil
		}
		var running sync.WaitGroup
		for i := range 30 {
			running.Go(func() {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if i%2 == 0 {
					go cancel()
				}
				want := strconv.Itoa(i)
				answer, err := m.Request(ctx, "event", arg(want))
				switch {
				case err == nil && (len(answer) != 1 || string(answer[0].JSON) != want):
					t.Errorf("answer %s to %s", texts(answer), want)
				case err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, realtime.ErrDisconnected):
					t.Error(err)
				}
			})
		}
		running.Go(func() { m.HandleDisconnect("transport close") })
		running.Wait()
	}
}
