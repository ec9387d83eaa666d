package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wal"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// What the log and other nodes keep, by the id of the message:
//
//   - of a socket that is there, the message to be sent if the process is killed,
//   - of a client that the backend let in and that has no socket yet, the same,
//   - of a socket that is gone, the message that waits.

// A value is that of a record.
type value interface {
	wal.Value
	realtime.BackupValue
}

const (
	// maxState is how many bytes a socket's state may have for the log to keep it, and maxBackedState
	// for other nodes.
	maxState       = 64 << 10
	maxBackedState = 4 << 10
)

// A recordValue is what is kept of a message.
type recordValue struct {
	due  time.Time // when the message is to be sent; zero: when the socket is gone
	peer realtime.Peer
	data json.RawMessage // a disconnectData, without a reason while the socket is there
}

// AppendJSON implements wal.Value.
func (v recordValue) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	if !v.due.IsZero() {
		b = append(b, `"due":`...)
		b = strconv.AppendInt(b, v.due.UnixMilli(), 10)
		b = append(b, ',')
	}
	if v.peer.ClientIP != "" {
		b = append(b, `"ip":`...)
		b = append(b, encode(v.peer.ClientIP)...)
		b = append(b, ',')
	}
	if v.peer.Host != "" {
		b = append(b, `"host":`...)
		b = append(b, encode(v.peer.Host)...)
		b = append(b, ',')
	}
	if v.peer.Secure {
		b = append(b, `"secure":true,`...)
	}
	b = append(b, `"data":`...)
	b = append(b, v.data...)
	return append(b, '}')
}

// AppendBackup implements realtime.BackupValue.
func (v recordValue) AppendBackup(b []byte) []byte {
	if len(v.data) > maxBackedState {
		data := new(disconnectData)
		if err := json.Unmarshal(v.data, data); err != nil {
			panic(err) // cannot happen: encode has written it
		}
		v.data = encode(data.withState(maxBackedState))
	}
	return v.AppendJSON(b)
}

// value returns what is kept of a message.
func (d *disconnect) value() value { return recordValue{d.Due, d.peer, d.kept} }

// A presentSocket is the value of a socket that is there. Its state is that of the
// moment when it is written.
type presentSocket struct{ *realtime.Socket }

// AppendJSON implements wal.Value.
func (s presentSocket) AppendJSON(b []byte) []byte { return s.append(b, maxState) }

// AppendBackup implements realtime.BackupValue.
func (s presentSocket) AppendBackup(b []byte) []byte { return s.append(b, maxBackedState) }

func (s presentSocket) append(b []byte, maxState int) []byte {
	data := dataOfSocket(s.Socket).withState(maxState)
	return recordValue{peer: s.Peer(), data: encode(data)}.AppendJSON(b)
}

// An acceptedClient is the value of a client that has no socket yet.
type acceptedClient struct {
	data *disconnectData
	peer realtime.Peer
}

// AppendJSON implements wal.Value.
func (c *acceptedClient) AppendJSON(b []byte) []byte { return c.append(b, maxState) }

// AppendBackup implements realtime.BackupValue.
func (c *acceptedClient) AppendBackup(b []byte) []byte { return c.append(b, maxBackedState) }

func (c *acceptedClient) append(b []byte, maxState int) []byte {
	return recordValue{peer: c.peer, data: encode(c.data.withState(maxState))}.AppendJSON(b)
}

// parseRecord returns the message that a record of a previous process is for. That
// process was last known to live at a time. Lost reports that the socket was there
// then.
func parseRecord(hub *realtime.Hub, e wal.Entry, lastAlive time.Time) (d *disconnect, lost bool, err error) {
	var v struct {
		Due    int64           `json:"due"`
		IP     string          `json:"ip"`
		Host   string          `json:"host"`
		Secure bool            `json:"secure"`
		Data   json.RawMessage `json:"data"`
	}
	if !isMessageID(e.ID) {
		return nil, false, errors.New("its id is not that of a message")
	}
	if err := parseStrictly(e.Value, &v); err != nil {
		return nil, false, err
	}
	data := new(disconnectData)
	if err := parseStrictly(v.Data, data); err != nil {
		return nil, false, err
	}
	lost = v.Due == 0
	if err := data.check(!lost); err != nil {
		return nil, false, err
	}
	if lost {
		data.nodeLost(lastAlive)
	}
	d = newDisconnect(hub, realtime.Peer{ClientIP: v.IP, Host: v.Host, Secure: v.Secure}, data)
	d.id, d.Due = e.ID, time.UnixMilli(v.Due)
	if lost {
		d.Due = time.Now()
	}
	return d, lost, nil
}

// parseStrictly reads one JSON value with known members only.
func parseStrictly(text []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("there is more than one value")
	}
	return nil
}

// isMessageID reports whether an id is like those of newMessageID: it becomes a
// header.
func isMessageID(id string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	rest, ok := strings.CutPrefix(id, messagePrefix)
	return ok && len(rest) == 22 && strings.Trim(rest, letters) == ""
}
