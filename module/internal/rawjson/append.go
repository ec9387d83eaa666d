package rawjson

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"unicode/utf8"
)

// AppendString appends text as a JSON string, as [Encode] writes it.
func AppendString(dst []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf || c == 0x7f {
			return appendEscaped(dst, text)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}

func appendEscaped(dst []byte, text string) []byte {
	var b bytes.Buffer
	if err := Encode(&b, text); err != nil {
		panic(err) // a string always encodes
	}
	return append(dst, b.Bytes()...)
}

// AppendObject appends an object whose members are valid JSON, in the order of their names.
func AppendObject(dst []byte, members map[string]json.RawMessage) []byte {
	if len(members) == 0 { // as most often; to sort nothing would take allocations
		return append(dst, "{}"...)
	}
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, name)
		dst = append(dst, ':')
		dst = append(dst, members[name]...)
	}
	return append(dst, '}')
}
