package wsconn

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// A cutSource has its input in pieces. What comes with a piece is buffered.
type cutSource struct {
	pieces  [][]byte
	answers []string // to control frames
}

func (s *cutSource) Read(p []byte) (int, error) {
	for !s.buffered() {
		if len(s.pieces) == 0 {
			return 0, io.EOF
		}
		s.pieces = s.pieces[1:]
	}
	n := copy(p, s.pieces[0])
	s.pieces[0] = s.pieces[0][n:]
	return n, nil
}

func (s *cutSource) buffered() bool { return len(s.pieces) > 0 && len(s.pieces[0]) > 0 }

func (s *cutSource) sendControl(frame []byte) error {
	s.answers = append(s.answers, string(frame))
	return nil
}

func (s *cutSource) sendClose([]byte) {}

// next returns the next message, and lets control frames pass.
func (s *cutSource) next(r *reader) (string, error) {
	r.source = s
	opcode, payload, err := r.next(atMost(1000))
	return fmt.Sprint(opcode, " ", string(payload)), err
}

// TestReaderAtRest: wherever the network cuts what a peer sends, a reader at rest serves
// another source as a new reader would, and then goes on with the first.
func TestReaderAtRest(t *testing.T) {
	text := strings.Repeat("hello ", 20)
	whole, ended := deflated(text), final(text)
	for name, script := range map[string]struct {
		inflates bool
		sent     []byte
		want     []string
	}{
		"frames": {false, join(
			masked(fin|Text, "one"), masked(fin|ping, "x"), masked(Binary, "in "), masked(fin|pong, ""),
			masked(continuation, "three "), masked(fin|continuation, "parts"), masked(fin|pong, ""), masked(fin|Text, "")),
			[]string{"1 one", "2 in three parts", "1 "}},
		"compressed": {true, join(
			masked(fin|compressed|Text, whole), masked(fin|ping, "x"), masked(fin|Text, text),
			masked(compressed|Text, whole[:5]), masked(fin|ping, ""), masked(fin|continuation, whole[5:])),
			[]string{"1 " + text, "1 " + text, "1 " + text}},
		"data that end before the frame": {true, join(
			masked(fin|compressed|Text, ended), masked(fin|compressed|Text, ended+"behind the end"), masked(fin|Text, "last")),
			[]string{"1 " + text, "1 " + text, "1 last"}},
		"data that end before the last frame": {true, join(
			masked(compressed|Text, ended), masked(continuation, "behind"), masked(fin|continuation, "the end"), masked(fin|Text, "last")),
			[]string{"1 " + text, "1 last"}},
	} {
		for cut := range script.sent {
			r := new(reader).init(script.inflates)
			s := &cutSource{pieces: [][]byte{slices.Clone(script.sent[:cut]), slices.Clone(script.sent[cut:])}}
			var got []string
			for {
				message, err := s.next(r)
				if err == nil {
					got = append(got, message)
				} else if !errors.Is(err, errNoMessage) {
					break // what has come before is looked at below
				}
				if r.atRest() {
					r.forget()
					other := &cutSource{pieces: [][]byte{masked(fin|ping, "x"), masked(fin|Text, "fresh")}}
					fresh, err := other.next(r)
					if errors.Is(err, errNoMessage) { // after the ping
						fresh, err = other.next(r)
					}
					if err != nil || fresh != "1 fresh" || len(other.answers) != 1 || !r.atRest() {
						t.Fatalf("%s, cut at %d: another source got %q, %v", name, cut, fresh, err)
					}
					r.forget()
				}
			}
			if !slices.Equal(got, script.want) {
				t.Errorf("%s, cut at %d: got %q", name, cut, got)
			}
		}
	}
}
