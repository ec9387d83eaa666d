package caddy

import (
	"fmt"
	"reflect"

	"github.com/caddyserver/caddy/v2"
)

// loadGuests loads the guest modules of a namespace from the field of host that has their
// JSON. Each must implement T.
func loadGuests[T any](ctx caddy.Context, host any, field, namespace string) ([]T, error) {
	modules, err := ctx.LoadModule(host, field)
	if err != nil {
		return nil, err
	}
	var guests []T
	for _, module := range modules.([]any) {
		guest, ok := module.(T)
		if !ok {
			return nil, fmt.Errorf("the module %T in %s is no %s", module, namespace, reflect.TypeFor[T]())
		}
		guests = append(guests, guest)
	}
	return guests, nil
}
