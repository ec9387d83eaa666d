package publish

import (
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"
)

// A Problem is why a call failed.
type Problem struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`    // for programs, such as "unknown_field"
	Message string `json:"message"` // for people
}

var (
	errUnauthorized     = problemf(http.StatusUnauthorized, "unauthorized", "the header Authorization has none of the keys; it must be Bearer and a key of this endpoint")
	errSealed           = problemf(http.StatusServiceUnavailable, "closing", "the server exits, and those who come back may not find what was done; send it again, to another one or in a moment")
	errTooLargeForNodes = problemf(http.StatusRequestEntityTooLarge, "too_large", "other nodes take at most 900,000 bytes of it; name fewer at a time")

	errClosing = problemf(http.StatusServiceUnavailable, "closing", "the server exits, and the event could reach nobody; send it again, to another one or in a moment")
)

func problemf(status int, code, format string, args ...any) *Problem {
	return &Problem{status, code, fmt.Sprintf(format, args...)}
}

// badField says what is wrong with a member of a request's body.
func badField(format string, args ...any) *Problem {
	return problemf(http.StatusBadRequest, "bad_field", format, args...)
}

// failure is the body of an answer with a problem.
type failure struct {
	Error *Problem `json:"error"`
}

func (p *Problem) body() []byte { return encode(failure{p}) }

func (p *Problem) write(w http.ResponseWriter) { write(w, p.Status, p.body()) }

// quote returns a text of the request in quotes, and cut.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		end := most
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + "…"
	}
	return strconv.Quote(s)
}
