package realtime

import (
	"encoding/json"
	"errors"
)

var (
	// ErrDisconnected says that the socket is not connected any more.
	ErrDisconnected = errors.New("socket is disconnected")

	// ErrSealed says that the hub takes no events any more: those who could get
	// them are gone, and what they are owed when they come back is written down.
	ErrSealed = errors.New("hub is about to end")

	// ErrBacklog says that a client missed more than can be sent to it at once.
	ErrBacklog = errors.New("client missed too much")

	// ErrTooManyNamespaces says that there are too many namespaces to make another one. It is not
	// the client's fault: it shall come back, and its connection is closed for that.
	ErrTooManyNamespaces = errors.New("hub has too many namespaces")

	// ErrInvalidNamespace says that clients may not connect to a namespace.
	ErrInvalidNamespace = errors.New("Invalid namespace") //nolint:staticcheck // the client gets these very words, which are Socket.IO's
)

// An Error is what a client is told when an event of its own failed.
type Error struct {
	Code    string `json:"code"`    // for programs, such as "backend_unavailable"
	Message string `json:"message"` // for people
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// A ConnectError is what a client is told when it may not connect. Any other
// error of an Authenticator is one of the server's own.
type ConnectError struct {
	// Message is the message of the client's connect_error.
	Message string
	// Data is its data: any JSON value, or nothing.
	Data json.RawMessage
	// Status is the HTTP status, 401 or 403, for protocols that answer before
	// they are connected. Default 403.
	Status int
}

// Error implements error.
func (e *ConnectError) Error() string { return e.Message }
