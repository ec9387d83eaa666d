package webhook

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// Seconds since 1970 are between these numbers from 1973 to 5138. A smaller number is
// taken for a duration, a larger one for milliseconds.
const (
	minSeconds = 1e8
	maxSeconds = 1e11
)

// maxMillis is the end of the year 9999, in milliseconds since 1970.
const maxMillis = 253402300799999

// The layouts of times with a zone and without one, as spelled returns them. In each, a
// fraction may follow the seconds.
var (
	zonedLayouts    = []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07", "2006-01-02T15:04Z07:00", http.TimeFormat, time.RFC1123Z}
	zonelessLayouts = []string{"2006-01-02T15:04:05", "2006-01-02T15:04"}
)

// parseTime reads a time: a number of seconds or milliseconds since 1970, or a text as
// programming languages write it. A time without a zone is in UTC.
func parseTime(data json.RawMessage) (at time.Time, zoned bool, err *wrongAnswer) {
	text, ok := rawjson.Unquote(data)
	if rawjson.Number(data) {
		text, ok = string(data), true
	}
	if text = strings.TrimSpace(text); !ok || text == "" {
		return at, false, errTime
	}
	if number, err := strconv.ParseFloat(text, 64); err == nil {
		at, err := timeOf(number)
		return at, true, err
	}
	text = spelled(text)
	for _, layout := range zonedLayouts {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true, nil
		}
	}
	for _, layout := range zonelessLayouts {
		if at, err := time.Parse(layout, text); err == nil {
			return at, false, nil
		}
	}
	return at, false, errTime
}

var errTime = wrong("must be a time, such as 2027-01-01T00:00:00Z, or seconds since 1970")

// timeOf returns the time that a number says.
func timeOf(number float64) (time.Time, *wrongAnswer) {
	switch {
	case !(number >= minSeconds): // also NaN
		return time.Time{}, wrong("must be a time, and not a duration: seconds since 1970")
	case number <= maxSeconds:
		number *= 1000
	case number > maxMillis:
		return time.Time{}, wrong("must be a time before the year 10000: seconds since 1970, or milliseconds")
	}
	millis, fraction := math.Modf(number)
	return time.UnixMilli(int64(millis)).Add(time.Duration(math.Round(fraction*1000)) * time.Microsecond), nil
}

// spelled returns a time as RFC 3339 spells it, where languages differ:
// "2027-01-01 00:00:00 UTC", "2027-01-01t00:00:00 +0100", "2027-01-01T00:00:00Z[UTC]".
func spelled(text string) string {
	if len(text) <= len(time.DateOnly) || text[4] != '-' {
		return text // as HTTP and mail write it
	}
	if zone := strings.IndexByte(text, '['); zone > 0 {
		text = text[:zone]
	}
	day, clock := text[:len(time.DateOnly)], strings.ToUpper(text[len(time.DateOnly):])
	if clock == "" || clock[0] != ' ' && clock[0] != 'T' {
		return text
	}
	clock = strings.ReplaceAll(clock[1:], " ", "")
	for _, name := range []string{"UTC", "GMT"} {
		if before, ok := strings.CutSuffix(clock, name); ok {
			clock = before + "Z"
		}
	}
	return day + "T" + clock
}
