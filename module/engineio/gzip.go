package engineio

import (
	"bytes"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// A zipper compresses one payload after the other. It takes most of a megabyte.
type zipper struct {
	writer *gzip.Writer
	output bytes.Buffer
}

// maxPooled is the size of the largest buffer that is kept for the next payload.
const maxPooled = 64 << 10

var zippers = sync.Pool{New: func() any {
	z := new(zipper)
	var err error
	if z.writer, err = gzip.NewWriterLevel(&z.output, gzip.BestSpeed); err != nil {
		panic(err) // not with this level
	}
	return z
}}

// zip compresses a payload by gzip.
func zip(payload []byte) []byte {
	z := zippers.Get().(*zipper)
	defer zippers.Put(z)
	z.writer.Reset(&z.output)
	_, _ = z.writer.Write(payload) // into memory
	_ = z.writer.Close()
	zipped := bytes.Clone(z.output.Bytes())
	if z.output.Cap() > maxPooled {
		z.output = bytes.Buffer{}
	}
	z.output.Reset()
	return zipped
}
