package engineio

import (
	"errors"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/refusal"
)

// ErrClosed says that a session has ended.
var ErrClosed = errors.New("session is closed")

// ErrBacklog says that more was to be sent at once than a session's queue has
// room for.
var ErrBacklog = errors.New("outbound queue has no room for all of it")

// errBinaryBody says that a POST holds bytes where only text can be.
var errBinaryBody = errors.New("the body is application/octet-stream, which Engine.IO 4 has not")

// refuse answers a request with e, and says so in the log.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, e *refusal.Error, details ...zap.Field) {
	s.logRefused(r, e.Message, append(details, zap.Int("code", e.Code))...)
	e.Write(w)
}

// logRefused writes the one line that a refused request gets.
func (s *Server) logRefused(r *http.Request, message string, details ...zap.Field) {
	o := s.options()
	refusal.Log(o.Logger, r, o.ClientIP(r), message, details...)
}
