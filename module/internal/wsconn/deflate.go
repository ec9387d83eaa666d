package wsconn

import (
	"bytes"
	"sync"

	"github.com/klauspost/compress/flate"
)

// compressed is the bit in the first byte of a frame that says that its message is
// compressed: RSV1 (RFC 7692, section 6).
const compressed = 0x40

// level is the fastest. Others save at most 2 % of typical JSON and take up to three times
// as long, while a room waits.
const level = flate.BestSpeed

// Deflate compresses the payload of a data frame that Frame has made. It returns the frame
// itself if that is not larger. Every peer that has negotiated compression can read the
// result: nothing in it refers to an earlier message (RFC 7692, section 7.2.1).
func Deflate(frame []byte) []byte {
	d := deflaters.Get().(*deflater)
	defer d.release()
	smaller := d.deflate(payloadOf(frame))
	if len(smaller) >= len(payloadOf(frame)) {
		return frame
	}
	result := Frame(int(frame[0]&0xf), smaller)
	result[0] |= compressed
	return result
}

// PayloadSize returns how many bytes the payload of a frame has that Frame has made.
func PayloadSize(frame []byte) int { return len(payloadOf(frame)) }

// payloadOf returns the payload of what Frame returns.
func payloadOf(frame []byte) []byte {
	switch size := frame[1]; size {
	case 126:
		return frame[2+2:]
	case 127:
		return frame[2+8:]
	default:
		return frame[2:]
	}
}

// A deflater compresses one message after the other. It takes most of a megabyte, so it is
// kept in a pool and never by a connection.
type deflater struct {
	writer *flate.Writer
	output bytes.Buffer
}

var deflaters = sync.Pool{New: func() any {
	d := new(deflater)
	var err error
	if d.writer, err = flate.NewWriter(&d.output, level); err != nil {
		panic(err) // not with this level
	}
	return d
}}

// deflate returns the compressed payload. It is valid until release.
func (d *deflater) deflate(payload []byte) []byte {
	d.output.Reset()
	d.writer.Reset(&d.output)
	_, _ = d.writer.Write(payload) // into memory
	_ = d.writer.Flush()
	// The receiver adds by itself what every flush ends with.
	return bytes.TrimSuffix(d.output.Bytes(), []byte("\x00\x00\xff\xff"))
}

func (d *deflater) release() {
	if d.output.Cap() > maxPooled {
		d.output = bytes.Buffer{}
	}
	deflaters.Put(d)
}
