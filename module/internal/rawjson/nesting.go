package rawjson

// nesting is the stack of arrays and objects that have begun and not ended. Each takes a bit, and
// 64 of them need no allocation. The zero value is the empty stack.
type nesting struct {
	depth int
	bits  uint64   // the innermost (depth-1)%64+1, the last in the lowest bit; 1 is an object
	outer []uint64 // the others, 64 in each element
}

func (n *nesting) push(object bool) {
	if n.depth != 0 && n.depth%64 == 0 {
		n.outer = append(n.outer, n.bits)
	}
	n.bits <<= 1
	if object {
		n.bits |= 1
	}
	n.depth++
}

func (n *nesting) pop() {
	n.depth--
	n.bits >>= 1
	if n.depth != 0 && n.depth%64 == 0 {
		last := len(n.outer) - 1
		n.bits = n.outer[last]
		n.outer = n.outer[:last]
	}
}

// inObject reports whether the innermost is an object.
func (n *nesting) inObject() bool { return n.bits&1 != 0 }
