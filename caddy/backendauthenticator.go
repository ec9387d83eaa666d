package caddy

import (
	"context"
	"errors"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func init() { caddy.RegisterModule(new(BackendAuthenticator)) }

// BackendAuthenticator asks the endpoint's handler "backend" who clients are. It has no options.
type BackendAuthenticator struct{ backend *Backend }

// CaddyModule returns the Caddy module information.
func (*BackendAuthenticator) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.authenticators.backend", New: func() caddy.Module { return new(BackendAuthenticator) }}
}

// Authenticate implements realtime.Authenticator.
func (a *BackendAuthenticator) Authenticate(ctx context.Context, namespace string, h *realtime.Handshake) (realtime.Identity, error) {
	return a.backend.Authenticate(ctx, namespace, h)
}

// Fingerprint implements Fingerprinter: which backend is asked, and what it is sent. The
// secrets that sign the requests are not part of it: they do not change the answers.
func (a *BackendAuthenticator) Fingerprint() []string {
	b := a.backend
	texts := []string{b.options.URL, b.OnError, strings.Join(b.forward(), "\n")}
	for _, handler := range b.HandleRaw {
		texts = append(texts, string(handler))
	}
	return texts
}

// bindBackend returns the backend among an endpoint's handlers, and connects the
// authenticator "backend" with it; nil if there is none.
func bindBackend(authenticators []realtime.Authenticator, handlers []realtime.Handler) (*Backend, error) {
	var backend *Backend
	for _, handler := range handlers {
		if b, ok := handler.(*Backend); ok {
			if backend != nil {
				return nil, errors.New("backend: there are two; write one, " +
					"whose handle chooses between several")
			}
			backend = b
		}
	}
	bound := false
	for _, authenticator := range authenticators {
		a, ok := authenticator.(*BackendAuthenticator)
		switch {
		case !ok:
			continue
		case backend == nil:
			return nil, errors.New("authenticator backend: there is no backend to ask; " +
				"write handler backend, or the subdirective backend instead of both")
		case bound:
			return nil, errors.New("authenticator backend: it is there already; write it once")
		}
		a.backend, bound = backend, true
	}
	if bound && len(authenticators) == 1 && !backend.notifies(notifyConnect) {
		backend.logger.Warn("the backend is not asked who clients are, and nobody else is: all are let in")
	}
	return backend, nil
}

// Interface guards
var (
	_ realtime.Authenticator = (*BackendAuthenticator)(nil)
	_ Fingerprinter          = (*BackendAuthenticator)(nil)
)
