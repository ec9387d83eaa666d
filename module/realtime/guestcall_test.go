package realtime_test

import (
	"context"
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A handler's panic fails its own event, and closes no connection.
func TestGuestPanics(t *testing.T) {
	logs, lines := observer.New(zapcore.ErrorLevel)
	var received []string
	broken := guest{
		connect:    func(*realtime.Socket) { panic("on connect") },
		event:      func(context.Context, *realtime.Event) (bool, error) { panic("on event") },
		disconnect: func(*realtime.Socket, string) { panic("on disconnect") },
	}
	sound := guest{
		connect:    func(*realtime.Socket) { received = append(received, "connect") },
		disconnect: func(_ *realtime.Socket, reason string) { received = append(received, reason) },
	}
	e := open(hub(t, realtime.Options{}), realtime.Policy{
		Handlers: []realtime.Handler{broken, sound},
		Logger:   zap.New(logs),
	})
	m := join(t, e)
	var answer []string
	m.HandleEvent(t.Context(), "greet", nil, func(_ *realtime.Batch, args ...realtime.Arg) error {
		answer = append(answer, texts(args)...)
		return nil
	})
	m.HandleDisconnect("transport close")
	if want := []string{`{"error":{"code":"internal","message":"the event could not be handled"}}`}; !slices.Equal(answer, want) {
		t.Errorf("the client is told %q", answer)
	}
	if want := []string{"connect", "transport close"}; !slices.Equal(received, want) {
		t.Errorf("the next handler received %q", received)
	}
	if n := lines.FilterMessage("guest panicked").Len(); n != 3 || lines.Len() != n {
		t.Errorf("%d lines say that a guest panicked, of %d", n, lines.Len())
	}
	if e.policiesInUse() != 0 {
		t.Errorf("the policy is still in use: %d", e.policiesInUse())
	}
}

func TestAuthenticatorPanics(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{Authenticators: []realtime.Authenticator{
		authenticatorFunc(func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) { panic("no database") }),
	}})
	_, err := e.Hub().Namespace("/").Connect(t.Context(), handshake(e), new(client))
	if err == nil {
		t.Error("a client is let in though nobody could say who it is")
	}
}
