package rawjson

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// Object reports whether data, valid JSON without white space before it, is an object.
func Object(data json.RawMessage) bool { return len(data) != 0 && data[0] == '{' }

// Number reports whether data, valid JSON without white space before it, is a number.
func Number(data json.RawMessage) bool {
	return len(data) != 0 && (data[0] == '-' || '0' <= data[0] && data[0] <= '9')
}

// Unquote returns the text of data, which is valid JSON without white space around it. It returns
// false if data is not a string. As in encoding/json, bytes that are not UTF-8 and halves of
// surrogate pairs become U+FFFD.
func Unquote(data json.RawMessage) (text string, ok bool) {
	if len(data) < 2 || data[0] != '"' {
		return "", false
	}
	if inner := data[1 : len(data)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner), true
	}
	return unquoteEscaped(data)
}

// unquoteEscaped is apart from Unquote, which would otherwise allocate for every text.
func unquoteEscaped(data json.RawMessage) (text string, ok bool) {
	return text, json.Unmarshal(data, &text) == nil
}
