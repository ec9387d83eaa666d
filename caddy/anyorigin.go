package caddy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// checkAnyOrigin reports a guest that identifies clients by something that browsers send
// by themselves, such as cookies, if any page may connect: then every page could connect in
// the name of its visitor.
func checkAnyOrigin(origins []string, authenticators []realtime.Authenticator, handlers []realtime.Handler) error {
	if !slices.Contains(origins, "*") {
		return nil
	}
	for _, guest := range authenticators {
		if err := checkUnasked(guest); err != nil {
			return err
		}
	}
	for _, guest := range handlers {
		if err := checkUnasked(guest); err != nil {
			return err
		}
	}
	return nil
}

// checkUnasked reports what a guest reads that browsers send by themselves.
func checkUnasked(guest any) error {
	const danger = "with origins * any page could connect in the name of its visitor"
	if b, ok := guest.(*Backend); ok && b.forwards("Cookie") {
		return fmt.Errorf("backend: %s, by the Cookie that is forwarded; "+
			"write which origins may connect, or forward Authorization alone", danger)
	}
	isCookie := func(name string) bool { return strings.EqualFold(name, "Cookie") }
	if reader, ok := guest.(HeaderReader); ok && slices.ContainsFunc(reader.HandshakeHeaders(), isCookie) {
		return fmt.Errorf("%s: %s, by the cookie that it reads; "+
			"write which origins may connect, or take the token from elsewhere, "+
			"such as auth.token", guestName(guest), danger)
	}
	if reader, ok := guest.(PlaceholderReader); ok {
		for _, text := range reader.HandshakeValues() {
			if name := unasked(text); name != "" {
				return fmt.Errorf("%s: %s, by the cookie or the password that is behind %s; "+
					"write which origins may connect, or use a placeholder of the query",
					guestName(guest), danger, name)
			}
		}
	}
	return nil
}

var placeholders = regexp.MustCompile(`\{[^{}]+\}`)

// unasked returns the first placeholder of a text whose value may depend on what a browser
// sends by itself; "" if there is none. {http.auth.user.id} may come from basic_auth,
// headers from forward_auth, {http.request.tls.client.subject} from a certificate. So all
// placeholders count except those that are known to be harmless.
func unasked(text string) string {
	for _, name := range placeholders.FindAllString(text, -1) {
		harmless := slices.ContainsFunc([]string{
			"{http.request.uri", "{http.request.orig_uri", "{http.request.remote", "{http.request.host",
			"{http.vars.client_ip}", "{env.", "{file.", "{system.",
		}, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		if !harmless {
			return name
		}
	}
	return ""
}

// guestName returns a guest's name as a configuration has it.
func guestName(guest any) string {
	if module, ok := guest.(caddy.Module); ok {
		id := module.CaddyModule().ID
		if id.Namespace() == "realtime.authenticators" {
			return "authenticator " + id.Name()
		}
		return "handler " + id.Name()
	}
	return fmt.Sprintf("%T", guest)
}
