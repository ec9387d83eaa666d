package stream

import (
	"encoding/binary"
	"errors"
)

// A messageKind says what a message is about. On the wire it is one byte.
type messageKind byte

const (
	kindData   messageKind = 'd' // bytes; the first ones of the side that dialed open the connection
	kindCredit messageKind = 'c' // bytes have been read, so that others may be sent
	kindEnd    messageKind = 'e' // the sender has closed the connection
	kindBroken messageKind = 'b' // bytes are missing, or the sender does not take the connection
)

// everyConn is the number that stands for all connections between two nodes, in a message that they
// are broken.
const everyConn = 0

// The sides of a connection.
const (
	sideDialed   byte = '>' // the sender of the message has dialed
	sideAccepted byte = '<'
)

// A message is what the two ends of a connection send one another: its kind, the sender's side, the
// number of the connection, a position and bytes.
type message struct {
	kind messageKind
	side byte
	id   uint64 // given by the side that has dialed, from 1 on
	// position counts bytes of one direction. Of data and an end: those that the sender has sent
	// before. Of a credit: those that the sender has read.
	position uint64
	data     []byte
}

var errMessage = errors.New("not a message of a stream")

// append appends the message to a slice.
func (m *message) append(to []byte) []byte {
	to = append(to, byte(m.kind), m.side)
	to = binary.AppendUvarint(to, m.id)
	to = binary.AppendUvarint(to, m.position)
	return append(to, m.data...)
}

// parse reads a message, whose data refers to the text.
func parse(text []byte) (m message, err error) {
	if len(text) < 2 {
		return message{}, errMessage
	}
	m.kind, m.side = messageKind(text[0]), text[1]
	if m.side != sideDialed && m.side != sideAccepted {
		return message{}, errMessage
	}
	rest := text[2:]
	for _, number := range []*uint64{&m.id, &m.position} {
		value, size := binary.Uvarint(rest)
		if size <= 0 {
			return message{}, errMessage
		}
		*number, rest = value, rest[size:]
	}
	switch m.kind {
	case kindData:
		if len(rest) == 0 {
			return message{}, errMessage
		}
		m.data = rest
		return m, nil
	case kindCredit, kindEnd, kindBroken:
		if len(rest) == 0 {
			return m, nil
		}
	}
	return message{}, errMessage
}
