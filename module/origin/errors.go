package origin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// A ForbiddenError says that a request's origin is refused. The right answer to the
// request is 403 without CORS headers.
type ForbiddenError struct {
	Origin string // as sent; "" if it was not, several joined by ", "
	Reason string // one phrase, for logs and for whoever set the policy

	flaw   error
	policy *Policy
	host   string // that the request named
	secure bool   // whether it came over TLS
	named  bool   // whether X-Forwarded-Host names the origin, and the host is another
}

func (p *Policy) forbid(sent string, flaw error, r *http.Request) *ForbiddenError {
	e := &ForbiddenError{Origin: sent, Reason: flaw.Error(), flaw: flaw, policy: p, host: r.Host, secure: r.TLS != nil}
	if named := r.Header.Get("X-Forwarded-Host"); named != "" && !strings.EqualFold(named, r.Host) {
		_, host, _ := strings.Cut(sent, "://")
		e.named = strings.EqualFold(named, host)
	}
	return e
}

// Error says what the origin was compared with, and which origins directive would let it
// in. It is safe to log: the text of the client is quoted and cut to a bounded length.
func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("origin %s is forbidden: %s%s%s", quoted(e.Origin), e.Reason, e.compared(), e.remedy())
}

// compared says what the origin was compared with, if it was.
func (e *ForbiddenError) compared() string {
	if !errors.Is(e.flaw, flawForeign) && !errors.Is(e.flaw, flawUnlisted) {
		return ""
	}
	scheme := "http(s)"
	if e.secure {
		scheme = "https"
	}
	text := "; this site is " + scheme + "://" + strings.Trim(quoted(e.host), `"`)
	if listed := strings.Join(e.policy.words, " "); listed != "" {
		text += ", and listed are " + shortened(listed)
	}
	return text
}

// remedy says how the configuration could let the origin in, if it could.
func (e *ForbiddenError) remedy() string {
	if errors.Is(e.flaw, flawSeveral) || errors.Is(e.flaw, flawEmbedded) {
		return ""
	}
	if errors.Is(e.flaw, flawAbsent) {
		return "; leave strict out to let it in"
	}
	missing := "null"
	if !isOpaque(e.Origin) {
		o, err := parse(e.Origin)
		if err != nil {
			return "; origins * alone would let it in"
		}
		missing = o.String()
	}
	words := append([]string{"origins"}, e.policy.words...)
	if e.policy.strict {
		words = append([]string{"origins", "strict"}, e.policy.words...)
	}
	line := strings.Join(append(words, missing), " ")
	if len(line) > maxLength {
		line = "origins … " + missing
	}
	if e.named {
		return "; X-Forwarded-Host names it: if that is from a proxy of yours, write the proxy's address into trusted_proxies, else write " + line
	}
	return "; to let it in, write " + line
}

// quoted returns a text of the client in quotes, and cut.
func quoted(sent string) string {
	if len(sent) > maxLength {
		return fmt.Sprintf("%q…", cut(sent))
	}
	return fmt.Sprintf("%q", sent)
}

// shortened returns what the policy has, cut.
func shortened(text string) string {
	if len(text) > maxLength {
		return cut(text) + "…"
	}
	return text
}

// A flaw is why an Origin is refused, and equally why a pattern is.
type flaw string

func (f flaw) Error() string { return string(f) }

const (
	flawAbsent   flaw = "a strict policy wants one, and the request has none"
	flawEmbedded flaw = "a page of another site caused the request, and sent none"
	flawSeveral  flaw = "the request has more than one"
	flawNull     flaw = "it is anybody's, and null is not listed"
	flawForeign  flaw = "not this site, and no other is listed"
	flawUnlisted flaw = "neither this site nor listed"

	flawLong     flaw = "longer than any origin"
	flawList     flaw = "white space or a comma makes it a list"
	flawControl  flaw = "control characters are no part of an origin"
	flawUser     flaw = "a user name is no part of an origin"
	flawPath     flaw = "a path or trailing slash is no part of an origin"
	flawQuery    flaw = "a query is no part of an origin"
	flawFragment flaw = "a fragment is no part of an origin"
	flawNoScheme flaw = "the scheme is missing"
	flawScheme   flaw = "the scheme is malformed"
	flawFile     flaw = "a file has no origin but null"
	flawSocket   flaw = "an origin has the scheme of the page, not of the WebSocket"
	flawNoHost   flaw = "the host is missing"
	flawHost     flaw = "the host is not a valid name"
	flawDot      flaw = "a host ends without a dot"
	flawAddress  flaw = "the host is not a valid IP address"
	flawNoPort   flaw = "the port is missing after the colon"
	flawPort     flaw = "a port is a number from 1 to 65535 without leading zeros"
)

// A mistake is what is wrong with a pattern, remedy included.
type mistake string

func (m mistake) Error() string { return string(m) }

const mistakeWildcard mistake = "* stands for whole labels before a host, or for the port; " +
	"write it as in https://*.example.com or http://localhost:*"
