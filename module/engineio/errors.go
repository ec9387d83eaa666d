package engineio

import (
	"errors"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/refusal"
)

// ErrClosed says that a session has ended.
var ErrClosed = errors.New("session is closed")

// ErrBacklog says that a session's queue has no room for all that was to be sent at once.
var ErrBacklog = errors.New("outbound queue has no room for all of it")

// errBinaryBody says that a POST has bytes where only text is possible.
var errBinaryBody = errors.New("the body is application/octet-stream, which Engine.IO 4 has not")

// refuse answers a request with an error, and logs it.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, e *refusal.Error, details ...zap.Field) {
	s.logRefused(r, e.Message, append(details, zap.Int("code", e.Code))...)
	e.Write(w)
}

// logRefused writes the one log line of a refused request.
func (s *Server) logRefused(r *http.Request, message string, details ...zap.Field) {
	o := s.options()
	refusal.Log(o.Logger, r, o.ClientIP(r), message, details...)
}
