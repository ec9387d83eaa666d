// Package contentcoding says in which content coding a client takes an answer.
package contentcoding

import (
	"net/http"
	"strconv"
	"strings"
)

// AcceptsGzip reports whether the client that sent a request's header takes gzip, and
// does not prefer the answer uncompressed (RFC 9110, section 12.5.3).
func AcceptsGzip(header http.Header) bool {
	gzip, others, identity := -1.0, 0.0, 0.0 // gzip: not named
	for _, list := range header.Values("Accept-Encoding") {
		for element := range strings.SplitSeq(list, ",") {
			coding, parameters, _ := strings.Cut(element, ";")
			switch q := quality(parameters); strings.ToLower(strings.TrimSpace(coding)) {
			case "gzip":
				gzip = q
			case "*":
				others = q
			case "identity":
				identity = q
			}
		}
	}
	if gzip < 0 {
		gzip = others
	}
	return gzip > 0 && gzip >= identity
}

// quality returns the weight in the parameters of a coding. It returns 0 if the
// weight is malformed: an uncompressed answer is never wrong.
func quality(parameters string) float64 {
	name, value, found := strings.Cut(parameters, "=")
	switch {
	case strings.TrimSpace(parameters) == "":
		return 1
	case !found || strings.ToLower(strings.TrimSpace(name)) != "q":
		return 0
	}
	q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || !(q >= 0 && q <= 1) { // NaN is outside the range, too
		return 0
	}
	return q
}
