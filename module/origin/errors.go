package origin

import "fmt"

// A ForbiddenError says that a request's origin is not let in. The right answer
// to the request is 403 without CORS headers.
type ForbiddenError struct {
	Origin string // as sent; "" if it was not, several joined by ", "
	Reason string // one phrase, for logs and for whoever set the policy
}

// Error is safe to log: what the client sent is quoted and cut to a bounded
// length.
func (e *ForbiddenError) Error() string {
	sent, more := e.Origin, ""
	if len(sent) > maxLength {
		sent, more = sent[:maxLength], "…"
	}
	return fmt.Sprintf("origin %q%s is forbidden: %s", sent, more, e.Reason)
}

// A flaw is why an Origin is refused, and equally why a pattern is.
type flaw string

func (f flaw) Error() string { return string(f) }

const (
	flawAbsent   flaw = "a strict policy wants one, and the request has none"
	flawEmbedded flaw = "a page of another site caused the request, and sent none"
	flawSeveral  flaw = "the request has more than one"
	flawNull     flaw = "null is not listed"
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
