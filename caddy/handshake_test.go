package caddy

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/module/jwt"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestKept(t *testing.T) {
	source, err := jwt.ParseSource("header:x-token")
	if err != nil {
		t.Fatal(err)
	}
	headers, values := kept(
		[]realtime.Authenticator{&JWT{sources: []jwt.Source{source}}, &Placeholder{Rooms: []string{"a:{b}"}, Data: map[string]string{"c": "{d}"}}},
		[]realtime.Handler{&Backend{Forward: []string{"cookie", "X-Tenant"}}, new(Relay)})
	if want := []string{"Authorization", "Cookie", "User-Agent", "X-Tenant", "X-Token"}; !slices.Equal(headers, want) {
		t.Errorf("the headers are %q, want %q", headers, want)
	}
	if want := []string{"a:{b}", "{d}", "{http.auth.user.id}"}; !slices.Equal(values, want) {
		t.Errorf("the values are %q, want %q", values, want)
	}
}

// TestValues: what stands for a placeholder is not looked at again.
func TestValues(t *testing.T) {
	replacer := caddy.NewReplacer()
	replacer.Set("who", "{env.HOME}")
	replacer.Set("nobody", "")
	r, err := http.NewRequestWithContext(context.WithValue(t.Context(), caddy.ReplacerCtxKey, replacer), http.MethodGet, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	got := valuesOf([]string{"user:{who}", "{nobody}", "a{nobody}", "{unknown}", "plain"})(r)
	if want := map[string]string{"user:{who}": "user:{env.HOME}", "plain": "plain"}; !maps.Equal(got, want) {
		t.Errorf("the values are %q, want %q", got, want)
	}
	if valuesOf(nil) != nil {
		t.Error("no values are made at some cost")
	}
}
