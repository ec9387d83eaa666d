// Package refusal has the answers to requests that are refused, in the form that Engine.IO's
// clients expect.
package refusal

import (
	"encoding/json"
	"net/http"

	"go.uber.org/zap"
)

// An Error says why a request is refused, in the words of Socket.IO's server.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// The errors of Engine.IO.
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

// Write answers a request with the error: with status 403 for Forbidden, otherwise 400. Socket.IO's
// server answers a WebSocket request differently, with plain text or even a 101; a proper HTTP
// answer works for everyone.
func (e *Error) Write(w http.ResponseWriter) {
	status := http.StatusBadRequest
	if e == Forbidden {
		status = http.StatusForbidden
	}
	body, err := json.Marshal(e)
	if err != nil {
		panic(err) // cannot happen: an int and a string
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// Unavailable answers 503: the server is shutting down.
func Unavailable(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "server shutting down", http.StatusServiceUnavailable)
}

// Crowded is the log message for Full.
const Crowded = "too many connections wait to be let in"

// Full answers 503: too many connections wait to be accepted.
func Full(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "5")
	http.Error(w, Crowded, http.StatusServiceUnavailable)
}

// Unreachable answers 503: the node that has the session cannot be reached.
func Unreachable(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "the node of the session cannot be reached", http.StatusServiceUnavailable)
}

// TooLarge answers 431: the request's URL and headers are larger than the server may keep.
func TooLarge(w http.ResponseWriter) {
	http.Error(w, "the URL and the headers are too large", http.StatusRequestHeaderFieldsTooLarge)
}

// Log writes the line for a refused request. It leaves the query out, which may hold a secret.
func Log(logger *zap.Logger, r *http.Request, clientIP, message string, details ...zap.Field) {
	logger.Info("refused", append([]zap.Field{
		zap.String("message", message),
		zap.String("method", r.Method),
		zap.String("path", r.URL.Path),
		zap.String("client_ip", clientIP),
	}, details...)...)
}
