// Package refusal has the errors with which Engine.IO's servers answer a
// request, for everything here that clients expect them from.
package refusal

import (
	"encoding/json"
	"net/http"

	"go.uber.org/zap"
)

// An Error is why a request is refused, in the words of Socket.IO's own server.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// The errors of Engine.IO, by their codes.
var (
	UnknownTransport = &Error{0, "Transport unknown"}
	UnknownSession   = &Error{1, "Session ID unknown"}
	BadMethod        = &Error{2, "Bad handshake method"}
	BadRequest       = &Error{3, "Bad request"}
	Forbidden        = &Error{4, "Forbidden"}
	BadVersion       = &Error{5, "Unsupported protocol version"}
)

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Write answers a request with the error: status 403 for Forbidden, else 400.
// Socket.IO's server answers otherwise where a WebSocket was asked for, with
// plain text or even with a 101; a proper answer serves everyone.
func (e *Error) Write(w http.ResponseWriter) {
	status := http.StatusBadRequest
	if e == Forbidden {
		status = http.StatusForbidden
	}
	body, err := json.Marshal(e)
	if err != nil {
		panic(err) // an int and a constant string
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// Unavailable answers a request for which a server that is closing has no room.
func Unavailable(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "server shutting down", http.StatusServiceUnavailable)
}

// Crowded is why a connection is refused where too many wait.
const Crowded = "too many connections wait to be let in"

// Full answers a request for a connection where too many wait to be let in.
func Full(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "5")
	http.Error(w, Crowded, http.StatusServiceUnavailable)
}

// TooLarge answers a request of which more would have to be kept than may be.
func TooLarge(w http.ResponseWriter) {
	http.Error(w, "the URL and the headers are too large", http.StatusRequestHeaderFieldsTooLarge)
}

// Log writes the one line that a refused request gets. The query is not in it,
// since it may hold a secret.
func Log(logger *zap.Logger, r *http.Request, clientIP, message string, details ...zap.Field) {
	logger.Info("refused", append([]zap.Field{
		zap.String("message", message),
		zap.String("method", r.Method),
		zap.String("path", r.URL.Path),
		zap.String("client_ip", clientIP),
	}, details...)...)
}
