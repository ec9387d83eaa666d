package socketio

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// timeOut ends the session of a client that has entered no namespace in time.
func (c *client) timeOut() {
	o := c.server.options()
	o.Engine.Logger.Info("limit exceeded",
		zap.String("session", c.session.ID()), zap.String("limit", "handshake"), zap.Duration("most", o.ConnectTimeout))
	c.session.Close(reason.ForcedClose)
}

// stopPending stops the timer: the client has entered a namespace, or its session has ended.
func (c *client) stopPending() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending != nil {
		c.pending.Stop()
		c.pending = nil
		c.server.endpoint.Pending().Release()
	}
}

// errNamespaces refuses a client that is in too many namespaces. It stays in those.
var errNamespaces = &realtime.ConnectError{Message: "too many namespaces on this connection", Data: json.RawMessage(`{"code":"limit"}`)}

// mayEnter returns an error if the client must not enter a namespace because of its name, or
// because of how many namespaces the client is in.
func (c *client) mayEnter(namespace string, l *realtime.Limits) error {
	c.mu.Lock()
	full := len(c.conns) >= l.Namespaces
	c.mu.Unlock()
	switch {
	case !c.server.endpoint.Allows(namespace):
		return realtime.ErrInvalidNamespace
	case full:
		return errNamespaces
	}
	return nil
}

// connect lets the client into a namespace, or tells it why not. mayEnter has been asked before.
func (c *client) connect(p packet) {
	hub := c.server.endpoint.Hub()
	conn := c.add(p.namespace)
	var recoverable realtime.Conn = conn5{conn}
	if c.revision4() {
		recoverable = conn // it cannot be told how to come back to its socket
	}
	_, err := hub.Lookup(p.namespace).Connect(hub.Context(), c.handshake(p), recoverable)
	if err == nil {
		c.stopPending()
		return
	}
	c.remove(conn)
	c.fail(p.namespace, err)
}

// fail tells a client why it could not enter a namespace, or closes its connection.
func (c *client) fail(namespace string, err error) {
	refusal, refused := errors.AsType[*realtime.ConnectError](err)
	unknown := errors.Is(err, realtime.ErrInvalidNamespace)
	switch {
	case refused:
		c.logRefused(namespace, err)
	case unknown:
		c.logRefused(namespace, fmt.Errorf("%w: it is not among the endpoint's namespaces", err))
	}
	switch {
	case refused && c.revision4():
		c.refuse4(namespace, refusal)
	case refused:
		c.refuse(namespace, refusal.Message, refusal.Data)
	case unknown:
		c.refuse(namespace, realtime.ErrInvalidNamespace.Error(), nil)
	case errors.Is(err, realtime.ErrTooManyNamespaces): // the hub logs it
		c.session.Close(reason.ForcedClose)
	case errors.Is(err, realtime.ErrDisconnected):
		// The client has gone meanwhile. The log says how its session ended.
	default:
		// This is not the client's fault, so it should come back by itself. It does when its
		// connection is closed, and does not after a CONNECT_ERROR.
		logger := c.server.options().Engine.Logger.WithOptions(zap.WrapCore(c.server.failures.Wrap))
		logger.Error("socket cannot be connected",
			zap.String("session", c.session.ID()), zap.String("namespace", namespace), zap.Error(err))
		c.session.Close(reason.ForcedClose)
	}
}

// logRefused logs why a namespace refuses the client. It does so once for each connection, so
// that a client that keeps trying does not fill the log.
func (c *client) logRefused(namespace string, err error) {
	c.mu.Lock()
	before := c.refused
	c.refused = true
	c.mu.Unlock()
	if before {
		return
	}
	c.server.options().Engine.Logger.Info("socket refused",
		zap.String("session", c.session.ID()), zap.String("namespace", namespace), zap.String("message", err.Error()))
}

// refuse sends a CONNECT_ERROR.
func (c *client) refuse(namespace, message string, data json.RawMessage) {
	object, err := realtime.JSON(struct {
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data,omitempty"`
	}{message, data})
	if err != nil { // the authenticator's data is not JSON
		object, _ = realtime.JSON(map[string]string{"message": message})
	}
	_ = c.send(packet{kind: typeConnectError, namespace: namespace, data: object.JSON})
}

// handshake returns what authenticators learn of a client that sends a CONNECT.
func (c *client) handshake(p packet) *realtime.Handshake {
	h := c.session.Handshake()
	var auth json.RawMessage // nil where the client sent none
	if len(p.data) > 0 {
		auth = p.data
	}
	return &realtime.Handshake{
		Endpoint:  c.server.endpoint,
		Session:   c.session.ID(),
		Protocol:  "socket.io",
		Transport: c.session.Transport(),
		Time:      h.Time,
		ClientIP:  h.ClientIP,
		Origin:    h.Origin,
		Host:      h.Host,
		Secure:    h.Secure,
		Path:      h.Path,
		Auth:      auth,
		Complete:  c.complete,
	}
}

// complete adds what is kept of the client's request.
func (c *client) complete(handshake *realtime.Handshake) {
	h := c.session.Handshake()
	query, err := url.ParseQuery(h.RawQuery)
	if err != nil {
		query = url.Values{} // the part that can be read might be misleading
	}
	handshake.Query, handshake.Header, handshake.Values = query, h.Header(), h.Values()
}
