package msgpack

import "unicode/utf8"

// ReadMap reads the head of a map. In rest, at least two bytes follow for each member, which is a
// key and a value.
func ReadMap(data []byte) (members int, rest []byte, err error) { return readSize(data, mapKind) }

// ReadArray reads the head of an array. In rest, at least one byte follows for each element.
func ReadArray(data []byte) (elements int, rest []byte, err error) { return readSize(data, arrayKind) }

func readSize(data []byte, k kind) (n int, rest []byte, err error) {
	h, next := readHead(data, 0)
	if h.kind != k {
		return 0, nil, ErrInvalid
	}
	return int(h.bits), data[next:], nil
}

// ReadString reads a string, which is UTF-8.
func ReadString(data []byte) (text, rest []byte, err error) {
	n, rest, err := readSize(data, stringKind)
	if err != nil || !utf8.Valid(rest[:n]) {
		return nil, nil, ErrInvalid
	}
	return rest[:n:n], rest[n:], nil
}

// ReadUint reads an integer. A negative one is ErrInvalid.
func ReadUint(data []byte) (value uint64, rest []byte, err error) {
	h, next := readHead(data, 0)
	if h.kind != unsignedKind && (h.kind != signedKind || int64(h.bits) < 0) {
		return 0, nil, ErrInvalid
	}
	return h.bits, data[next:], nil
}

// IsMap reports whether data begins with a map.
func IsMap(data []byte) bool { return begins(data, mapKind) }

// IsUndefined reports whether data begins with undefined.
func IsUndefined(data []byte) bool { return begins(data, undefinedKind) }

func begins(data []byte, k kind) bool {
	h, _ := readHead(data, 0)
	return h.kind == k
}

// Skip returns the data after its first value.
func Skip(data []byte) (rest []byte, err error) {
	i := 0
	for left := uint64(1); left > 0; left-- {
		h, next := readHead(data, i)
		i = next
		switch h.kind {
		case invalid:
			return nil, ErrInvalid
		case stringKind, binaryKind:
			i += int(h.bits)
		case arrayKind:
			left += h.bits
		case mapKind:
			left += 2 * h.bits
		}
		if left > uint64(len(data)-i)+1 {
			return nil, ErrInvalid // without reading any number of heads that claim too much
		}
	}
	return data[i:], nil
}
