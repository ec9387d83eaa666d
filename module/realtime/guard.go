package realtime

import (
	"context"
	"fmt"
	"runtime/debug"

	"go.uber.org/zap"
)

// The calls into guests. A guest that panics does so on the goroutine that
// reads from one client, and would take every other client with it: its panic
// is logged, and is an error of this one call.

func (p *Policy) callAuthenticate(ctx context.Context, a Authenticator, namespace string, h *Handshake) (identity Identity, err error) {
	defer p.recovered("Authenticate", &err)
	return a.Authenticate(ctx, namespace, h)
}

func (p *Policy) callConnect(ctx context.Context, h Handler, s *Socket) {
	defer p.recovered("HandleConnect", nil)
	h.HandleConnect(ctx, s)
}

func (p *Policy) callConnected(ctx context.Context, connected func(context.Context, *Socket), s *Socket) {
	defer p.recovered("OnConnect", nil)
	connected(ctx, s)
}

func (p *Policy) callEvent(ctx context.Context, h Handler, e *Event) (handled bool, err error) {
	defer p.recovered("HandleEvent", &err)
	return h.HandleEvent(ctx, e)
}

func (p *Policy) callLater(ctx context.Context, e *Event) (err error) {
	defer p.recovered("Later", &err)
	return e.later(ctx)
}

func (p *Policy) callDisconnect(ctx context.Context, h Handler, s *Socket, reason string) {
	defer p.recovered("HandleDisconnect", nil)
	h.HandleDisconnect(ctx, s, reason)
}

func (p *Policy) callNoReturn(h UnrecoverableHandler, s *Socket) {
	defer p.recovered("HandleUnrecoverable", nil)
	h.HandleUnrecoverable(s)
}

// recovered is deferred by each of them.
func (p *Policy) recovered(method string, err *error) {
	value := recover()
	if value == nil {
		return
	}
	p.logger().Error("guest panicked", zap.String("method", method), zap.Any("panic", value), zap.ByteString("stack", debug.Stack()))
	if err != nil {
		*err = &panicError{value}
	}
}

// A panicError is what a guest's panic becomes. It has been logged.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }
