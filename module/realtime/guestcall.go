package realtime

import (
	"context"
	"fmt"
	"runtime/debug"

	"go.uber.org/zap"
)

// Every call of a guest goes through one of these methods. A guest that panics would end the whole
// process, and every client's connection with it. Instead, its panic is logged and becomes the
// error of this one call.

func (p *Policy) callAuthenticate(ctx context.Context, a Authenticator, namespace string, h *Handshake) (identity Identity, err error) {
	defer p.catchPanic("Authenticate", &err)
	return a.Authenticate(ctx, namespace, h)
}

func (p *Policy) callConnect(ctx context.Context, h Handler, s *Socket) {
	defer p.catchPanic("HandleConnect", nil)
	h.HandleConnect(ctx, s)
}

func (p *Policy) callOnConnect(ctx context.Context, connected func(context.Context, *Socket), s *Socket) {
	defer p.catchPanic("OnConnect", nil)
	connected(ctx, s)
}

func (p *Policy) callEvent(ctx context.Context, h Handler, e *Event) (handled bool, err error) {
	defer p.catchPanic("HandleEvent", &err)
	return h.HandleEvent(ctx, e)
}

// callRest calls what a handler does once HandleEvent has returned.
func (p *Policy) callRest(ctx context.Context, rest func(context.Context) error) (err error) {
	defer p.catchPanic("Later", &err)
	return rest(ctx)
}

func (p *Policy) callDisconnect(ctx context.Context, h Handler, s *Socket, reason string) {
	defer p.catchPanic("HandleDisconnect", nil)
	h.HandleDisconnect(ctx, s, reason)
}

func (p *Policy) callUnrecoverable(h UnrecoverableHandler, s *Socket) {
	defer p.catchPanic("HandleUnrecoverable", nil)
	h.HandleUnrecoverable(s)
}

func (p *Policy) callMoved(h MovedHandler, s *Socket) {
	defer p.catchPanic("HandleMoved", nil)
	h.HandleMoved(s)
}

// catchPanic is deferred by each call of a guest.
func (p *Policy) catchPanic(method string, err *error) {
	value := recover()
	if value == nil {
		return
	}
	p.logger().Error("guest panicked",
		zap.String("method", method), zap.Any("panic", value),
		zap.ByteString("stack", debug.Stack()))
	if err != nil {
		*err = &panicError{value}
	}
}

// A panicError is the error of a guest that panicked. The panic has been logged.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }
