package realtime

import (
	"encoding/json"
	"errors"
)

var (
	// ErrDisconnected means that the socket is not connected any more.
	ErrDisconnected = errors.New("socket is disconnected")

	// ErrSealed means that the hub takes no more events: its clients are disconnected, and the
	// state of those that may come back has been saved.
	ErrSealed = errors.New("hub is shutting down")

	// ErrBacklog means that a client has missed more than can be sent to it at once.
	ErrBacklog = errors.New("client missed too much")

	// ErrTooManyNamespaces means that a client asked for a namespace that would be one too many.
	// That is not its fault: its connection is closed, and it tries again later.
	ErrTooManyNamespaces = errors.New("hub has too many namespaces")

	// ErrInvalidNamespace means that clients may not connect to the namespace.
	ErrInvalidNamespace = errors.New("Invalid namespace") //nolint:staticcheck // clients get this text, which is Socket.IO's
)

// An Error tells a client why its event failed.
type Error struct {
	Code    string `json:"code"`    // for programs, such as "backend_unavailable"
	Message string `json:"message"` // for people
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// A ConnectError tells a client why it may not connect. Any other error of an Authenticator is the
// server's own.
type ConnectError struct {
	// Message is the message of the client's connect_error.
	Message string
	// Data is the connect_error's data: any JSON value, or nil.
	Data json.RawMessage
	// Status is the HTTP status, 401 or 403, for protocols that answer before the connection is
	// established. Default: 403.
	Status int
}

// Error implements error.
func (e *ConnectError) Error() string { return e.Message }
