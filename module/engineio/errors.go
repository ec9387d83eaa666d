package engineio

import (
	"errors"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/refusal"
)

// ErrClosed says that a session has ended.
var ErrClosed = errors.New("session is closed")

// refuse answers a request with e, and says so in the log.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, e *refusal.Error, details ...zap.Field) {
	s.logRefused(r, e.Message, append(details, zap.Int("code", e.Code))...)
	e.Write(w)
}

// logRefused writes the one line that a refused request gets. The query is not
// in it, since it may hold a secret.
func (s *Server) logRefused(r *http.Request, message string, details ...zap.Field) {
	o := s.options()
	o.Logger.Info("refused", append([]zap.Field{
		zap.String("message", message),
		zap.String("method", r.Method),
		zap.String("path", r.URL.Path),
		zap.String("client_ip", o.clientIP(r)),
	}, details...)...)
}
