package wsconn

import "errors"

// errCompressedBit is a breach of RFC 7692, section 6: only the first frame of a message
// says that it is compressed. The text begins like that of gorilla's own errors.
var errCompressedBit = errors.New("websocket: RSV1 set on a control frame or a continuation")

// A bitChecker checks RSV1 in the first byte of each frame that passes, which gorilla does
// not where compression is negotiated. The zero value awaits a frame.
type bitChecker struct {
	part   framePart
	broken bool   // a frame had the bit where it must not be; nothing more is of use
	open   bool   // the last frame of the message is still to come
	wider  int8   // how many bytes of the size are still to come
	skip   uint64 // how many bytes of no interest come before part
	size   uint64 // of the frame, as far as it has come
}

// A framePart is what comes next of a frame.
type framePart byte

const (
	firstByte framePart = iota
	secondByte
	sizeByte
)

// betweenMessages reports whether all frames that have begun have ended, and the message.
func (c *bitChecker) betweenMessages() bool {
	return c.part == firstByte && c.skip == 0 && !c.open && !c.broken
}

// check returns how many bytes come before a frame with a bit that it must not have, and
// false if there is such a frame.
func (c *bitChecker) check(p []byte) (n int, ok bool) {
	for n < len(p) {
		if c.skip > 0 {
			skipped := min(c.skip, uint64(len(p)-n))
			c.skip -= skipped
			n += int(skipped)
			continue
		}
		if c.part == firstByte && misplaced(p[n]) {
			c.broken = true
			return n, false
		}
		c.next(p[n])
		n++
	}
	return n, true
}

// misplaced reports whether a frame with this first byte has RSV1 and is not the first of a
// message.
func misplaced(first byte) bool {
	opcode := first & 0xf
	return first&compressed != 0 && opcode != Text && opcode != Binary
}

// next takes the next byte of a frame's head (RFC 6455, section 5.2).
func (c *bitChecker) next(b byte) {
	switch c.part {
	case firstByte:
		if isControl := b&8 != 0; !isControl {
			const fin = 0x80
			c.open = b&fin == 0
		}
		c.part = secondByte
		return
	case secondByte:
		switch size := b & 0x7f; size {
		case 126:
			c.size, c.wider = 0, 2
		case 127:
			c.size, c.wider = 0, 8
		default:
			c.size, c.wider = uint64(size), 0
		}
		c.part = sizeByte
	case sizeByte:
		c.size = c.size<<8 | uint64(b)
		c.wider--
	}
	if c.wider == 0 {
		const mask = 4 // gorilla takes no frame without one
		c.part, c.skip = firstByte, mask+c.size
	}
}
