//go:build linux

package main

import (
	"fmt"
	"slices"
	"strconv"
)

// figure is one quantity: a column of a table, with a sample of each round for each row.
type figure struct {
	column  string
	heading string // of the column in docs/benchmarks.md
	digits  int    // behind the point
	samples map[string][]float64
	// diagnostic figures help to judge a run, and are not in docs/benchmarks.md.
	diagnostic bool
}

// table has the figures of one group, by the same rows.
type table struct {
	group   string // of -figures
	title   string
	figures []*figure
}

// The groups of figures, as in -figures.
const (
	groupMemory  = "memory"
	groupGrowth  = "growth"
	groupConnect = "connect"
	groupFanOut  = "fanout"
	groupAcks    = "acks"
	groupBackend = "backend"
	groupPolling = "polling"
	groupLatency = "latency"
	groupStorm   = "storm"
)

// The figures, by the names that a run prints.
const (
	colIdle         = "idle"
	colIdleTLS      = "idle, TLS"
	colTotal        = "RSS of all"
	colFew          = "few connections"
	colMany         = "many connections"
	colConnect      = "connect"
	colFanOut       = "fan-out"
	colFanOutLong   = "fan-out, 1 KiB"
	colFanOutAll    = "fan-out to all"
	colAcks1        = "acks, 1 in flight"
	colAcks4        = "acks, 4 in flight"
	colBackend1     = "backend, 1 in flight"
	colBackend4     = "backend, 4 in flight"
	colRoundTrip    = "round trip"
	colSession      = "idle session"
	colBroadcast50  = "delivery, p50"
	colBroadcast99  = "delivery, p99"
	colBroadcast999 = "delivery, p99.9"
	colAck50        = "ack, p50"
	colAck99        = "ack, p99"
	colAck999       = "ack, p99.9"
	colStorm        = "all back"
)

// rowProxyAlone is the Caddy of the peer that has two processes.
const rowProxyAlone = "reverse_proxy, Caddy alone"

// allGroups are the groups in the order of the report.
var allGroups = []string{
	groupMemory, groupGrowth, groupFanOut, groupAcks, groupConnect, groupBackend, groupPolling, groupLatency, groupStorm,
}

// groupHeartbeats has no table: what it measures stands in the progress. It takes long, and so is
// not among the default.
const groupHeartbeats = "heartbeats"

// newTables returns empty tables for the figures of a run.
func newTables(o options) []*table {
	return []*table{
		{groupMemory, fmt.Sprintf("Resident memory of each of %s idle connections, KiB", number(o.connections)), []*figure{
			{column: colIdle, heading: "plain", digits: 1},
			{column: colIdleTLS, heading: "TLS", digits: 1},
			{column: colTotal, digits: 1, diagnostic: true},
		}},
		{groupGrowth, "The same with fewer and more of them, KiB", []*figure{
			{column: colFew, heading: number(o.few), digits: 1},
			{column: colMany, heading: number(o.many), digits: 1},
		}},
		{groupFanOut, "CPU of each delivery of a broadcast, µs", []*figure{
			{column: colFanOut, heading: "64 B to " + number(o.members), digits: 1},
			{column: colFanOutAll, heading: "64 B to " + number(o.all), digits: 1},
			{column: colFanOutLong, heading: "1 KiB to " + number(o.members), digits: 1},
		}},
		{groupAcks, fmt.Sprintf("CPU of each event with an ack, %d connections, µs", ackConnections), []*figure{
			{column: colAcks1, heading: "1 in flight", digits: 1},
			{column: colAcks4, heading: "4 in flight", digits: 1},
		}},
		{groupConnect, "CPU of each new connection, ms", []*figure{
			{column: colConnect, heading: "from the TCP connection to the namespace", digits: 3},
		}},
		{groupBackend, fmt.Sprintf("CPU of each event with an ack that a Node process handles, %d connections, µs", backendConnections), []*figure{
			{column: colBackend1, heading: "1 in flight", digits: 1},
			{column: colBackend4, heading: "4 in flight", digits: 1},
		}},
		{groupPolling, "Polling", []*figure{
			{column: colRoundTrip, heading: "CPU of a GET and a POST, µs", digits: 1},
			{column: colSession, heading: "memory of an idle session, KiB", digits: 2},
		}},
		{groupLatency, fmt.Sprintf("Times at a fixed rate, ms: broadcasts to %s members, %d a second; events with an ack, %s a second",
			number(o.members), o.broadcastRate, number(o.ackRate)), []*figure{
			{column: colBroadcast50, heading: "delivery, p50", digits: 1},
			{column: colBroadcast99, heading: "p99", digits: 1},
			{column: colBroadcast999, heading: "p99.9", digits: 1},
			{column: colAck50, heading: "ack, p50", digits: 2},
			{column: colAck99, heading: "p99", digits: 1},
			{column: colAck999, heading: "p99.9", digits: 1},
		}},
		{groupStorm, number(o.all) + " clients lose their connections and come back at once, s", []*figure{
			{column: colStorm, heading: "until all are back", digits: 1},
		}},
	}
}

// rows has the names of all rows in the order of the report, and what docs/benchmarks.md calls
// them.
func rows() []struct{ row, title string } {
	var all []struct{ row, title string }
	add := func(row, title string) { all = append(all, struct{ row, title string }{row, title}) }
	for _, p := range allPeers {
		add(p.name, p.title)
		if p.proxied {
			add(rowProxyAlone, "… Caddy's part of it")
		}
	}
	add(rowBackend, "this module with `backend`")
	add(rowBackendBatch, "… and `batch`")
	add(rowProxyHandler, "Caddy's `reverse_proxy` before npm socket.io")
	add(rowDirectHandler, "npm socket.io by itself")
	add(rowRespond, "`respond` of Caddy")
	add(rowNetHTTP, "a bare net/http server")
	return all
}

// summary is the summary of a row's samples.
type summary struct {
	rounds           int
	min, median, max float64
}

// summarize returns the summary of a row; none if it has no samples.
func (f *figure) summarize(row string) (s summary, ok bool) {
	samples := slices.Sorted(slices.Values(f.samples[row]))
	n := len(samples)
	if n == 0 {
		return summary{}, false
	}
	return summary{rounds: n, min: samples[0], median: (samples[(n-1)/2] + samples[n/2]) / 2, max: samples[n-1]}, true
}

// number writes a number with commas, as docs/benchmarks.md does.
func number(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", number(n/1000), n%1000)
}
