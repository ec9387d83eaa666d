package rawjson

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Text returns what data, valid JSON without white space around it, says where a text is meant: a string, or the digits of a
// number. Loosely typed languages write the id 7 as "7", 7 or 7.0, and all of them are the text 7. A whole number keeps its
// digits however many it has. A number with an exponent is a text only if no digit of it can be lost.
func Text(data json.RawMessage) (text string, ok bool) {
	if !Number(data) {
		return Unquote(data)
	}
	text = string(data)
	if strings.ContainsAny(text, "eE") {
		const exact = 1 << 53 // from here on not every whole number is a float64
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
