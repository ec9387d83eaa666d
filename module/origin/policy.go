// Package origin decides which web pages may connect to an endpoint, and tells browsers
// so by the headers of CORS.
//
// One [Policy] is for long polling and for both kinds of WebSocket. CORS is not enough:
// browsers do not ask before they open a WebSocket, and they send the user's cookies with
// the request. So the server itself must check the Origin (cross-site WebSocket hijacking,
// CVE-2019-13611). [Policy.Check] is called for every request, and only requests that it
// accepts get CORS headers.
//
// Origins are compared by scheme, host and port, each in its normal form, and never by
// the beginning or the end of a string.
//
//   - policy.go: which origins are accepted; cors.go: the headers
//   - pattern.go, origin.go, host.go: how patterns and Origin headers are read
//   - errors.go: what is wrong, and what would be right
package origin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A Policy says which origins are let in.
//
// The endpoint's own site always is, whatever else is listed: same scheme, host
// and port as the request itself. Where Caddy does not terminate TLS, a proxy in
// front may, so there a page's scheme can be http or https. "Own site" trusts
// the Host header, which a page cannot choose except by DNS rebinding: sites
// that answer to any name (a bare ":80") are open to that.
//
// A request without an Origin comes from a native client and is let in, unless the policy
// is strict, or the browser says that a page of another site caused it. A browser sends no
// Origin with a GET to its own site, so a strict policy keeps a site's own pages from long
// polling.
//
// The zero Policy and a nil *Policy let in the endpoint's own site only. A
// Policy never changes once made; any number of goroutines may use it.
type Policy struct {
	strict bool // refuse a request that has no Origin
	any    bool // "*"
	null   bool // "null"

	verbatim string // an Origin header that is let in as it is

	exact    map[origin]struct{}
	patterns []pattern // those that hold more than one origin

	words []string // what was listed, in normal form, without duplicates
}

// New compiles patterns as written in the origins directive:
//
//	https://app.example.com    that origin; http or https on its default port
//	https://*.example.com      one or more labels below example.com, never itself
//	http://localhost:*         any port
//	http://172.16.0.0/12:*     a range of IP addresses, on any port
//	http://[fd00::]/8          the same for IPv6; here on the default port
//	capacitor://localhost      a scheme of its own, matched in full; also app://.
//	null                       sandboxed frames and local files: any of them
//	*                          any Origin header, but without credentials; stands alone
//
// An Origin of ws://host or wss://host, which some clients that are no browsers
// send, is that of http or https. One of file:// is null.
//
// Letter case and default ports make no difference, and a name may be written in
// Unicode or in Punycode. A first word "strict" refuses requests without an
// Origin. No patterns at all mean the endpoint's own site only.
//
// An error names the pattern and says what would be right.
func New(patterns ...string) (*Policy, error) {
	p := &Policy{}
	if len(patterns) > 0 && patterns[0] == "strict" {
		p.strict = true
		patterns = patterns[1:]
	}
	for _, word := range patterns {
		normal, err := p.add(word)
		if err != nil {
			return nil, fmt.Errorf("origins %q: %w", word, err)
		}
		if !slices.Contains(p.words, normal) {
			p.words = append(p.words, normal)
		}
	}
	// Listed origins get credentials and "*" must not get them, so they exclude each other.
	if p.any && len(p.words) > 1 {
		return nil, errors.New(`origins "*": every origin is let in without credentials, ` +
			`listed ones with them; write * alone, or only the list`)
	}
	return p, nil
}

// add lets in what one word of the directive stands for, and returns the word's
// normal form.
func (p *Policy) add(word string) (normal string, err error) {
	switch word {
	case "strict":
		return "", mistake("strict comes before all origins; write it first, once")
	case "*":
		p.any = true
		return word, nil
	case "null":
		p.null = true
		return word, nil
	}
	pat, err := compile(word)
	if err != nil {
		return "", advise(word, err)
	}
	if pat.single() {
		if p.exact == nil {
			p.exact = make(map[origin]struct{})
		}
		p.exact[pat.origin] = struct{}{}
	} else if !slices.Contains(p.patterns, pat) {
		p.patterns = append(p.patterns, pat)
	}
	return pat.String(), nil
}

// Check returns nil when r may be served, and otherwise a [*ForbiddenError],
// for which the right answer is 403. An Origin that no browser would send (a
// list, a path, a user name …) is let in by "*" alone, two of them by nothing.
func (p *Policy) Check(r *http.Request) error {
	if p == nil {
		p = &sameSite
	}
	sent := r.Header["Origin"]
	switch {
	case len(sent) == 1:
		if err := p.check(sent[0], r); err != nil {
			return p.forbid(sent[0], err, r)
		}
	case len(sent) > 1:
		// Programs differ in which of them they read.
		return p.forbid(strings.Join(sent, ", "), flawSeveral, r)
	case p.strict:
		return p.forbid("", flawAbsent, r)
	case r.Header.Get("Sec-Fetch-Site") == "cross-site" && !p.any:
		// This is no native client: a page of another site loads an image or a script.
		// Browsers send cookies with that, but no Origin.
		return p.forbid("", flawEmbedded, r)
	}
	return nil
}

// Only returns a policy that lets in one Origin header as it is, besides the
// endpoint's own site.
func Only(sent string) *Policy { return &Policy{verbatim: sent, words: []string{sent}} }

// sameSite is what a nil *Policy stands for.
var sameSite Policy

func (p *Policy) check(sent string, r *http.Request) error {
	if p.any || p.verbatim != "" && sent == p.verbatim {
		return nil
	}
	if isOpaque(sent) {
		// Every sandboxed frame has this origin, an attacker's too: it is never
		// anybody's own site.
		if p.null {
			return nil
		}
		return flawNull
	}
	o, err := parse(sent)
	if err != nil {
		return err
	}
	if p.lists(o) || o.serves(r) {
		return nil
	}
	if len(p.words) == 0 {
		return flawForeign
	}
	return flawUnlisted
}

func (p *Policy) lists(o origin) bool {
	if _, ok := p.exact[o]; ok {
		return true
	}
	for i := range p.patterns {
		if p.patterns[i].matches(o) {
			return true
		}
	}
	return false
}

// String returns the policy as the origins directive would have it, each
// pattern once and in normal form; "same-origin" stands for an empty list. Two
// policies with the same string, up to order, let in the same requests.
func (p *Policy) String() string {
	if p == nil {
		p = &sameSite
	}
	words := p.words
	if len(words) == 0 {
		words = []string{"same-origin"}
	}
	if p.strict {
		words = append([]string{"strict"}, words...)
	}
	return strings.Join(words, " ")
}
