package reuseport

import (
	"net"
	"reflect"
	"syscall"
)

// innermost returns the listener that others wrap. Caddy, crypto/tls and listener wrappers
// embed the listener that they wrap, so they have a field with the name of the interface.
// There is no other way to reach it.
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
