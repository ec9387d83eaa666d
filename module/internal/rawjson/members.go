package rawjson

import (
	"encoding/json"
	"iter"
)

// Members returns the names and the raw values of the members of data, a valid JSON object, in
// their order. A name may occur several times. Names are raw JSON strings: see [Named] and
// [Unquote]. Names and values are parts of data without white space around them, with no capacity
// beyond their end. Data that is not an object has no members.
func Members(data []byte) iter.Seq2[json.RawMessage, json.RawMessage] {
	return func(yield func(name, value json.RawMessage) bool) {
		i := skipSpace(data, 0)
		if i == len(data) || data[i] != '{' {
			return
		}
		for {
			begin := skipSpace(data, i+1)
			behind, ok := scanKey(data, begin, nil)
			if !ok {
				return // the object is empty
			}
			end, _ := scanString(data, begin)
			name := data[begin:end:end]
			begin = skipSpace(data, behind)
			if end, ok = scan(data, begin, maxDepth-1, nil); !ok {
				return
			}
			value := data[begin:end:end]
			i = skipSpace(data, end)
			if i == len(data) || !yield(name, value) || data[i] != ',' {
				return
			}
		}
	}
}

// Named reports whether name, a raw JSON string, is text. The text must consist of ASCII letters,
// digits and underscores. Named does not allocate, even if the name has escapes.
func Named(name json.RawMessage, text string) bool {
	return len(name) >= 2 && keyIs(name[1:len(name)-1], text)
}
