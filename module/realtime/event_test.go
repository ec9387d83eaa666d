package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestHandlerChain(t *testing.T) {
	type step struct {
		name    string
		handled bool
		err     error
		acks    []string // the handler's answers, each by a call of Ack
	}
	tests := []struct {
		name  string
		steps []step
		asked []string
		want  string // the ack; "" for none
		logs  int
	}{
		{"nobody", nil, nil, `{"error":{"code":"unhandled_event","message":"nothing handles an event of this name here"}}`, 0},
		{"nobody wants it", []step{{name: "a"}, {name: "b"}}, []string{"a", "b"}, `{"error":{"code":"unhandled_event","message":"nothing handles an event of this name here"}}`, 0},
		{"the first", []step{{name: "a", handled: true, acks: []string{"1"}}, {name: "b", handled: true}}, []string{"a"}, "1", 0},
		{"the second", []step{{name: "a"}, {name: "b", handled: true, acks: []string{"2"}}}, []string{"a", "b"}, "2", 0},
		{"without an answer", []step{{name: "a", handled: true}}, []string{"a"}, "", 0},
		{"answered twice", []step{{name: "a", handled: true, acks: []string{"1", "2"}}}, []string{"a"}, "1", 0},
		{"answered by one that then passes it on", []step{{name: "a", acks: []string{"1"}}, {name: "b", handled: true, acks: []string{"2"}}}, []string{"a", "b"}, "1", 0},
		{"an error for the client", []step{{name: "a", err: &realtime.Error{Code: "forbidden", Message: "not you"}}, {name: "b", handled: true}}, []string{"a"}, `{"error":{"code":"forbidden","message":"not you"}}`, 0},
		{"the same, wrapped", []step{{name: "a", handled: true, err: fmt.Errorf("oh: %w", &realtime.Error{Code: "c", Message: "m"})}}, []string{"a"}, `{"error":{"code":"c","message":"m"}}`, 0},
		{"an error inside", []step{{name: "a", err: errors.New("password is 1234")}}, []string{"a"}, `{"error":{"code":"internal","message":"the event could not be handled"}}`, 1},
		{"an error after the answer", []step{{name: "a", acks: []string{"1"}, err: errors.New("late")}}, []string{"a"}, "1", 1},
	}
	for _, test := range tests {
		for _, awaited := range []bool{true, false} {
			logs, lines := observer.New(zapcore.ErrorLevel)
			var asked, answers []string
			var policy realtime.Policy
			policy.Logger = zap.New(logs)
			for _, step := range test.steps {
				policy.Handlers = append(policy.Handlers, guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
					asked = append(asked, step.name)
					if e.Name != "greet <&>" || !slices.Equal(texts(e.Args), []string{"[1]"}) || (e.Ack != nil) != awaited {
						t.Errorf("%s: got %v", test.name, e)
					}
					for _, ack := range step.acks {
						if e.Ack != nil {
							if err := e.Ack(arg(ack)); err != nil {
								t.Error(err)
							}
						}
					}
					return step.handled, step.err
				}})
			}
			e := open(hub(t, realtime.Options{}), policy)
			m := join(t, e)
			var ack func(*realtime.Batch, ...realtime.Arg) error
			if awaited {
				ack = func(_ *realtime.Batch, args ...realtime.Arg) error {
					answers = append(answers, texts(args)...)
					return nil
				}
			}
			m.HandleEvent(t.Context(), "greet <&>", []realtime.Arg{arg("[1]")}, ack)
			equal(t, test.name+": asked", asked, test.asked)
			if awaited && test.want != "" {
				equal(t, test.name+": answers", answers, []string{test.want})
			} else if len(answers) != 0 {
				t.Errorf("%s: answers nobody awaits: %q", test.name, answers)
			}
			if lines.Len() != test.logs {
				t.Errorf("%s: logged %v", test.name, lines.All())
			}
			if e.policiesInUse() != 0 {
				t.Errorf("%s: the policy is still in use", test.name)
			}
		}
	}
}

// The policy changes while an event is handled. The event keeps the policy that it began with in
// use.
func TestPolicyInUse(t *testing.T) {
	handled := ""
	called := func(name string) guest {
		return guest{event: func(context.Context, *realtime.Event) (bool, error) {
			handled += name
			return name == "last", nil
		}}
	}
	e := open(hub(t, realtime.Options{}), realtime.Policy{})
	e.set(realtime.Policy{Handlers: []realtime.Handler{
		guest{event: func(context.Context, *realtime.Event) (bool, error) {
			if e.policiesInUse() != 1 {
				t.Errorf("the policy is in use %d times", e.policiesInUse())
			}
			e.set(realtime.Policy{Handlers: []realtime.Handler{called("new")}})
			return false, nil
		}},
		called("last"),
	}})
	m := join(t, e)
	m.HandleEvent(t.Context(), "event", nil, nil)
	m.HandleEvent(t.Context(), "event", nil, nil)
	if handled != "lastnew" || e.policiesInUse() != 0 {
		t.Errorf("handled by %s; in use %d times", handled, e.policiesInUse())
	}
}

// A batch passes from the protocol to the recipients of what a handler emits.
func TestBatchReachesConn(t *testing.T) {
	var batch realtime.Batch
	type key struct{}
	var seen []any
	e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{guest{event: func(ctx context.Context, e *realtime.Event) (bool, error) {
		seen = append(seen, ctx.Value(key{}))
		inner, cancel := context.WithCancel(ctx)
		defer cancel()
		return true, errors.Join(e.Socket.To("red").Emit(inner, "to others"), e.Socket.Emit(ctx, "back"), e.Socket.Emit(context.Background(), "at once"))
	}}}})
	sender, other := join(t, e, "red"), join(t, e, "red")
	ctx := context.WithValue(context.Background(), key{}, "kept")
	sender.HandleEvent(realtime.WithBatch(ctx, &batch), "event", nil, nil)
	sender.HandleEvent(realtime.WithBatch(ctx, nil), "event", nil, nil)
	equal(t, "values of the context", seen, []any{"kept", "kept"})
	equal(t, "events", sender.client.events(), []string{"back", "at once", "back", "at once"})
	equal(t, "batches of the sender", sender.client.batches, []*realtime.Batch{&batch, nil, nil, nil})
	equal(t, "batches of the other", other.client.batches, []*realtime.Batch{&batch, nil})
}

// An ack belongs to the batch of the input, or to the one that the handler says.
func TestBatchOfAck(t *testing.T) {
	var input, own realtime.Batch
	for want, handle := range map[*realtime.Batch]func(*realtime.Event){
		&input: func(*realtime.Event) {},
		&own:   func(e *realtime.Event) { e.HoldIn(&own) },
	} {
		e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
			handle(e)
			return true, e.Ack()
		}}}})
		var got []*realtime.Batch
		join(t, e).HandleEvent(realtime.WithBatch(t.Context(), &input), "event", nil, func(in *realtime.Batch, _ ...realtime.Arg) error {
			got = append(got, in)
			return nil
		})
		equal(t, "batches of the ack", got, []*realtime.Batch{want})
	}
}

// A handler emits, calls Flush and waits.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far, near := net.Pipe()
		defer far.Close()
		held := outbox.New(near, func() int { return 1000 }, nil)
		var batch realtime.Batch
		batch.Open()
		ctx := realtime.WithBatch(t.Context(), &batch)
		if err := held.SendIn(&batch, []byte("held")); err != nil {
			t.Fatal(err)
		}
		realtime.Flush(t.Context()) // a context without a batch
		arrived := make(chan string, 1)
		go func() {
			b := make([]byte, 10)
			n, _ := far.Read(b)
			arrived <- string(b[:n])
		}()
		synctest.Wait()
		if len(arrived) != 0 {
			t.Error("it was not held back")
		}
		realtime.Flush(ctx)
		realtime.Flush(ctx)
		if got := <-arrived; got != "held" {
			t.Errorf("got %q", got)
		}
		near.Close()
		held.Wait()
	})
}
