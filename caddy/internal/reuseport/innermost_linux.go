package reuseport

import (
	"net"
	"reflect"
	"syscall"
)

// innermost returns what is at the bottom of a listener. Whoever wraps one, be
// it Caddy, crypto/tls or a listener wrapper, embeds it, and so has a field of
// the interface's name; there is no other way to it.
func innermost(listener net.Listener) (syscall.Conn, bool) {
	for listener != nil {
		if bottom, ok := listener.(syscall.Conn); ok {
			return bottom, true
		}
		wrapper := reflect.Indirect(reflect.ValueOf(listener))
		if wrapper.Kind() != reflect.Struct {
			return nil, false
		}
		field := wrapper.FieldByName("Listener")
		if !field.IsValid() || !field.CanInterface() {
			return nil, false
		}
		listener, _ = reflect.TypeAssert[net.Listener](field)
	}
	return nil, false
}
