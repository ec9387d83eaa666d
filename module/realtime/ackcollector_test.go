package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A requestOutcome is the outcome of a Broadcast's Request.
type requestOutcome struct {
	answers []string // "<socket><args>"
	missing []string
	err     error
}

func ackCollector(ctx context.Context, b realtime.Broadcast, sockets int, event string) <-chan requestOutcome {
	outcome := make(chan requestOutcome, 1)
	go func() {
		got, err := b.Request(ctx, time.Hour, sockets, event)
		p := requestOutcome{missing: got.Missing, err: err}
		for _, a := range got.Answers {
			p.answers = append(p.answers, fmt.Sprint(a.Socket, texts(a.Args)))
		}
		outcome <- p
	}()
	return outcome
}

func TestBroadcastRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := open(hub(t, realtime.Options{}), realtime.Policy{})
		a, b, outside := join(t, e, "room"), join(t, e, "room"), join(t, e)
		outcome := ackCollector(t.Context(), e.Hub().Namespace("/").To("room"), 2, "question")
		synctest.Wait()
		first, second := a.client.received()[0], b.client.received()[0]
		if first != second || first.Ack == 0 {
			t.Fatal("the event is encoded more than once, or awaits no answer")
		}
		equal(t, "outside", outside.client.events(), []string{})
		outside.HandleAck(first.Ack, []realtime.Arg{arg(`"nobody asked"`)})
		b.HandleAck(first.Ack, []realtime.Arg{arg("1"), arg("2")})
		b.HandleAck(first.Ack, []realtime.Arg{arg(`"again"`)})
		synctest.Wait()
		select {
		case got := <-outcome:
			t.Fatalf("one client has not answered, and yet there is %v", got)
		default:
		}
		a.HandleAck(first.Ack, nil)
		got := <-outcome
		equal(t, "answers", got.answers, []string{b.ID() + "[1 2]", a.ID() + "[]"})
		equal(t, "missing", got.missing, nil)
	})
}

func TestBroadcastRequestMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := open(hub(t, realtime.Options{}), realtime.Policy{})
		answers, leaves, silent := join(t, e, "a"), join(t, e, "b"), join(t, e, "c")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		outcome := ackCollector(ctx, e.Hub().Namespace("/").To("a", "b", "c"), 3, "question")
		synctest.Wait()
		number := answers.client.received()[0].Ack
		leaves.HandleDisconnect("transport close")
		answers.HandleAck(number, []realtime.Arg{arg("true")})
		got := <-outcome
		silent.HandleAck(number, []realtime.Arg{arg(`"too late"`)})
		equal(t, "answers", got.answers, []string{answers.ID() + "[true]"})
		equal(t, "missing", got.missing, []string{leaves.ID(), silent.ID()})
	})
}

// Answers that are too large together are dropped.
func TestBroadcastRequestLargeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := open(hub(t, realtime.Options{}), realtime.Policy{})
		a, b := join(t, e), join(t, e)
		outcome := ackCollector(t.Context(), e.Hub().Namespace("/").To(), 2, "question")
		synctest.Wait()
		large := []realtime.Arg{realtime.Bytes(make([]byte, 9<<20))}
		a.HandleAck(a.client.received()[0].Ack, large)
		b.HandleAck(b.client.received()[0].Ack, large)
		if got := <-outcome; len(got.answers) != 1 || len(got.missing) != 1 || got.missing[0] != b.ID() {
			t.Errorf("%d answers, missing %v", len(got.answers), got.missing)
		}
	})
}

func TestBroadcastRequestRefuses(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{})
	a, _ := join(t, e), join(t, e)
	all := e.Hub().Namespace("/").To()
	if got := <-ackCollector(t.Context(), all, 1, "question"); !errors.Is(got.err, realtime.ErrTooManySockets) {
		t.Errorf("error %v", got.err)
	}
	if got := <-ackCollector(t.Context(), all, 2, "disconnect"); got.err == nil {
		t.Error("a reserved name is sent")
	}
	if got := <-ackCollector(t.Context(), all.To("nobody"), 2, "question"); got.err != nil || len(got.answers)+len(got.missing) != 0 {
		t.Errorf("nobody is asked, and there is %+v", got)
	}
	equal(t, "events", a.client.events(), []string{})
}

// More rooms are excepted than are compared one by one.
func TestBroadcastExceptsManyRooms(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{})
	var except []string
	for i := range 20 {
		except = append(except, fmt.Sprint("room", i))
	}
	in, out, own := join(t, e, "here"), join(t, e, "here", "room7"), join(t, e, "here")
	except = append(except, own.ID())
	for _, b := range []realtime.Broadcast{e.Hub().Namespace("/").To(), e.Hub().Namespace("/").To("here")} {
		if err := b.Except(except...).Emit(t.Context(), "event"); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "in", in.client.events(), []string{"event", "event"})
	equal(t, "out", append(out.client.events(), own.client.events()...), []string{})
}
