package rawjson

import (
	"encoding/json"
	"iter"
)

// Members returns the names and the raw values of the members of data, a valid JSON object, in their order; one name may be
// there several times. Names are strings in raw JSON: see [Named] and [Unquote]. Both are parts of data, trimmed of white
// space, that can be appended to without harm to one another. The members of anything but an object are none.
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

// Named reports whether a member's name, a string in raw JSON, is the given one, which has no characters but letters, digits
// and underscores. However the name is escaped, nothing is allocated.
func Named(name json.RawMessage, text string) bool {
	return len(name) >= 2 && keyIs(name[1:len(name)-1], text)
}
