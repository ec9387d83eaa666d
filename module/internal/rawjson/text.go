package rawjson

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Text returns data, which is valid JSON without white space around it, as the text of an id: a
// string, or the digits of a number. Loosely typed languages write the id 7 as "7", 7 or 7.0,
// which are all the text 7. A whole number keeps all of its digits. Text returns false for other
// data, and for a number with an exponent that a float64 may not hold exactly.
func Text(data json.RawMessage) (text string, ok bool) {
	if !Number(data) {
		return Unquote(data)
	}
	text = string(data)
	if strings.ContainsAny(text, "eE") {
		const exact = 1 << 53 // a float64 cannot hold all whole numbers from here on
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || f != float64(int64(f)) || f <= -exact || f >= exact {
			return "", false
		}
		return strconv.FormatInt(int64(f), 10), true
	}
	if strings.Contains(text, ".") {
		text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		text = "0"
	}
	return text, true
}
