package engineio

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// A zipper compresses one payload after the other. It takes most of a megabyte.
type zipper struct {
	writer *gzip.Writer
	output bytes.Buffer
}

// maxPooled is the largest buffer kept for the next payload.
const maxPooled = 64 << 10

var zippers = sync.Pool{New: func() any {
	z := new(zipper)
	var err error
	if z.writer, err = gzip.NewWriterLevel(&z.output, gzip.BestSpeed); err != nil {
		panic(err) // the level is one
	}
	return z
}}

// zip returns a payload compressed by gzip.
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

// acceptsGzip reports whether the client of a request takes gzip, and does not
// like an answer better as it is (RFC 9110, section 12.5.3).
func acceptsGzip(header http.Header) bool {
	gzip, others, identity := -1.0, 0.0, 0.0 // gzip: not named
	for _, list := range header.Values("Accept-Encoding") {
		for element := range strings.SplitSeq(list, ",") {
			coding, parameters, _ := strings.Cut(element, ";")
			switch q := quality(parameters); strings.ToLower(strings.TrimSpace(coding)) {
			case "gzip":
				gzip = q
			case "*":
				others = q
			case "identity":
				identity = q
			}
		}
	}
	if gzip < 0 {
		gzip = others
	}
	return gzip > 0 && gzip >= identity
}

// quality returns the weight in the parameters of a coding; 0 if it is
// malformed: an answer that is not compressed is never wrong.
func quality(parameters string) float64 {
	name, value, found := strings.Cut(parameters, "=")
	switch {
	case strings.TrimSpace(parameters) == "":
		return 1
	case !found || strings.ToLower(strings.TrimSpace(name)) != "q":
		return 0
	}
	q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || !(q >= 0 && q <= 1) { // which NaN is not
		return 0
	}
	return q
}
