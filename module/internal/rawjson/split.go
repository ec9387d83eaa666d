package rawjson

import (
	"encoding/json"
	"fmt"
)

// A SyntaxError says that data is not what was asked for. It never quotes data, which is a client's.
type SyntaxError struct {
	Offset int // of the first byte that cannot be; the length of the data where that ended too early
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("invalid JSON at offset %d", e.Offset) }

// Split validates data as exactly one JSON array and returns its elements: parts of data, trimmed of white space, that
// can be appended to without harm to one another. The result of an empty array is empty and not nil.
//
// Anything else, null included, is a [*SyntaxError]. The result takes 24 bytes an element and is as large as it has to be;
// up to 8 elements it is the only allocation.
func Split(data []byte) ([]json.RawMessage, error) {
	var few [8]json.RawMessage
	elements, err := AppendSplit(few[:0], data)
	if err != nil {
		return nil, err
	}
	return append(make([]json.RawMessage, 0, len(elements)), elements...), nil
}

// AppendSplit is [Split] into dst. In case of an error it returns dst as it was.
func AppendSplit(dst []json.RawMessage, data []byte) ([]json.RawMessage, error) {
	elements := dst
	i := skipSpace(data, 0)
	if i == len(data) || data[i] != '[' {
		return dst, &SyntaxError{i}
	}
	i = skipSpace(data, i+1)
	if i < len(data) && data[i] == ']' {
		i++
	} else {
		for more := true; more; i++ {
			begin := skipSpace(data, i)
			end, ok := scan(data, begin, maxDepth-1, nil)
			if !ok {
				return dst, &SyntaxError{end}
			}
			elements = append(elements, data[begin:end:end])
			i = skipSpace(data, end)
			if i == len(data) || data[i] != ',' && data[i] != ']' {
				return dst, &SyntaxError{i}
			}
			more = data[i] == ','
		}
	}
	if i = skipSpace(data, i); i != len(data) {
		return dst, &SyntaxError{i}
	}
	return elements, nil
}
