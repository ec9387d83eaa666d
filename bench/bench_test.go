//go:build linux

package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	holdIfAsked() // this program is the test's
	os.Exit(m.Run())
}

// TestEveryFigure takes each figure of each peer once, with tiny numbers: make bench-check runs it.
func TestEveryFigure(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("it builds Caddy and all peers: run make bench-check")
	}
	t.Chdir("..")
	o := tiny
	o.caddy = os.Getenv("BENCH_CADDY")
	r, err := run(t.Context(), o, io.Discard, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	var all, grown []string
	for _, p := range allPeers {
		all = append(all, p.name)
		if p.grows {
			grown = append(grown, p.name)
		}
	}
	secure := []string{peerRealtime, peerNode, peerProxy, rowProxyAlone, peerGorilla, peerCentrifuge}
	handled := []string{rowBackend, rowBackendBatch, rowProxyHandler, rowDirectHandler}
	for _, want := range []struct {
		rows    []string
		columns []string
	}{
		{append(slices.Clone(all), rowProxyAlone), []string{colIdle}},
		{secure, []string{colIdleTLS}},
		{grown, []string{colFew, colMany}},
		{all, []string{
			colTotal, colConnect, colFanOut, colFanOutLong, colFanOutAll, colAcks1, colAcks4, colStorm,
			colBroadcast50, colBroadcast99, colBroadcast999, colAck50, colAck99, colAck999,
		}},
		{handled, []string{colBackend1, colBackend4}},
		{[]string{peerRealtime, peerNode, peerProxy, rowRespond, rowNetHTTP}, []string{colRoundTrip}},
		{[]string{peerRealtime, peerNode, peerProxy}, []string{colSession}},
	} {
		for _, column := range want.columns {
			samples := r.figure(column).samples
			for _, row := range want.rows {
				if len(samples[row]) != 1 {
					t.Errorf("%s of %s: %d samples, want 1", column, row, len(samples[row]))
				}
			}
			if len(samples) != len(want.rows) {
				t.Errorf("%s has %d rows, want %d", column, len(samples), len(want.rows))
			}
		}
	}
}

func TestCutFrame(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, payload := range []string{"2", long} {
		masked := appendFrame(nil, [4]byte{}, []byte(payload))
		masked[1] &= 0x7f // a server's frame has no mask, and this one was zero
		mask := 2
		if len(payload) > 125 {
			mask = 4
		}
		frame := append(slices.Clone(masked[:mask]), masked[mask+4:]...)
		for cut := range frame {
			if got, rest, err := cutFrame(frame[:cut]); got != nil || len(rest) != cut || err != nil {
				t.Fatalf("%d bytes of %d: %q, %q, %v", cut, len(frame), got, rest, err)
			}
		}
		got, rest, err := cutFrame(append(frame, "next"...))
		if string(got) != payload || string(rest) != "next" || err != nil {
			t.Errorf("got %q, rest %q, %v", got, rest, err)
		}
	}
	if _, _, err := cutFrame([]byte{closeFrame, 2, 3, 232}); err == nil {
		t.Error("a close frame is no error")
	}
}

// TestHandleFrames holds that a frame of several lines has several packets, where the protocol
// says so.
func TestHandleFrames(t *testing.T) {
	for _, test := range []struct {
		protocol *protocol
		want     []string
	}{
		{centrifugeJSON, []string{"a", "b"}},
		{socketIO, []string{"a\nb"}},
	} {
		var got []string
		c := &client{protocol: test.protocol}
		c.handle(func(packet []byte) error {
			got = append(got, string(packet))
			return nil
		})
		rest, err := c.handleFrames([]byte("\x81\x03a\nb\x81"))
		if !slices.Equal(got, test.want) || string(rest) != "\x81" || err != nil {
			t.Errorf("got %q, rest %q, %v; want %q", got, rest, err, test.want)
		}
	}
}

func TestPercentiles(t *testing.T) {
	var times []time.Duration
	for i := range 1000 {
		times = append(times, time.Duration(1000-i))
	}
	if got, want := newPercentiles(times), (percentiles{500, 990, 999}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := newPercentiles([]time.Duration{7}), (percentiles{7, 7, 7}); got != want {
		t.Errorf("of one: got %v, want %v", got, want)
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[int]string{7: "7", 999: "999", 1000: "1,000", 19_050: "19,050", 1_000_000: "1,000,000"} {
		if got := number(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

// sampleReport has samples of two rounds in each figure.
func sampleReport() *report {
	r := &report{tables: newTables(defaults), setting: "a setting"}
	for _, t := range r.tables {
		for _, f := range t.figures {
			for _, row := range []string{peerRealtime, peerNode} {
				r.add(f.column, row, 1)
				r.add(f.column, row, 2)
			}
		}
	}
	return r
}

func TestMarkdown(t *testing.T) {
	var out bytes.Buffer
	r := sampleReport()
	r.add(colFanOut, peerEpoll, 3)
	r.writeMarkdown(&out)
	for _, want := range []string{
		"| this module | **1.5** (1.0 – 2.0) |",
		"| npm socket.io | 1.5 (1.0 – 2.0) |",
		"| raw epoll, the floor | 3.0 |  |  |\n",
		"\nTaken on a setting.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), colTotal) {
		t.Error("a diagnostic figure is shown")
	}
	if strings.Contains(out.String(), busyNote) {
		t.Error("a quiet machine is called busy")
	}
	out.Reset()
	r.busy = true
	if r.writeMarkdown(&out); !strings.HasSuffix(out.String(), busyNote) {
		t.Error("a busy machine is called quiet")
	}
}

func TestPlot(t *testing.T) {
	var out bytes.Buffer
	if err := sampleReport().writePlot(&out); err != nil {
		t.Fatal(err)
	}
	bars := 0
	for d := xml.NewDecoder(&out); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "rect" {
			bars++
		}
	}
	if want := 1 + 2*len(plotted); bars != want {
		t.Errorf("%d rectangles, want %d", bars, want)
	}
}

func TestReplaceFigures(t *testing.T) {
	page := "before\n" + figuresBegin + "old\n" + figuresEnd + "after\n"
	got, err := replaceFigures([]byte(page), []byte("\nnew\n"))
	if want := "before\n" + figuresBegin + "\nnew\n\n" + figuresEnd + "after\n"; string(got) != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := replaceFigures([]byte("before\n"+figuresBegin), nil); err == nil {
		t.Error("a page without an end is no error")
	}
}

// TestChoices holds that options name only what there is.
func TestChoices(t *testing.T) {
	if _, err := choosePeers("realtime, epoll"); err != nil {
		t.Error(err)
	}
	if _, err := choosePeers("realtime,nginx"); err == nil {
		t.Error("nginx is a peer")
	}
	var groups []string
	for _, table := range newTables(defaults) {
		groups = append(groups, table.group)
	}
	if !slices.Equal(groups, allGroups) {
		t.Errorf("the tables are of %q, and -figures takes %q", groups, allGroups)
	}
}

func TestHeartbeats(t *testing.T) {
	var h heartbeats
	start := time.Now()
	one, other := h.observer(), h.observer()
	for _, ping := range []struct {
		observe func(time.Time)
		after   int // seconds
	}{{one, 3}, {other, 10}, {one, 28}, {other, 34}, {one, 54}} {
		ping.observe(start.Add(time.Duration(ping.after) * time.Second))
	}
	if want := []time.Duration{0, -time.Second, time.Second}; !slices.Equal(h.late, want) || h.early != 1 {
		t.Errorf("%v, %d early; want %v, 1 early", h.late, h.early, want)
	}
}
