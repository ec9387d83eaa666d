// The command scaling calculates what a cluster moves: what goes through the broker, what each node
// receives and remembers, and how clients come back when a node is lost. It prints the tables of
// docs/scaling.md.
//
// It opens no socket. Rooms fall to shards by [bus.Shard], and messages have the sizes of those that
// two hubs publish to one another. The same flags give the same tables.
//
//   - rooms.go: which node has members of which rooms, and what that has it receive
//   - heartbeat.go: what nodes tell one another to be members
//   - message.go: how large messages are
//   - storm.go: clients that come back
//   - tables.go, docs.go: what is printed, and where it stands
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

// A scenario is what is calculated.
type scenario struct {
	connections int
	nodes       int
	members     int           // of a room; each connection is in one
	interval    time.Duration // how often a connection sends an event to its room
	cores       float64       // of a node, that clients who come back may take
	seed        uint64
}

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, output io.Writer) error {
	var s scenario
	flags := flag.NewFlagSet("scaling", flag.ContinueOnError)
	flags.IntVar(&s.connections, "connections", 10_000_000, "`how many` there are on all nodes")
	flags.IntVar(&s.nodes, "nodes", 200, "`how many` nodes there are")
	flags.IntVar(&s.members, "members", 50, "`how many` connections are in a room")
	flags.DurationVar(&s.interval, "interval", 100*time.Second, "how often each connection sends an event to its room")
	flags.Float64Var(&s.cores, "cores", 2, "`how many` cores of a node do handshakes while clients come back")
	flags.Uint64Var(&s.seed, "seed", 1, "what the random numbers begin with")
	docs := flags.String("docs", "", "write the tables into scaling.md in this `folder`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	sizes, err := measureSizes(ctx)
	if err != nil {
		return err
	}
	tables := s.tables(sizes)
	if *docs != "" {
		return writeDocs(*docs, tables)
	}
	_, err = io.WriteString(output, tables)
	return err
}

// check returns what is wrong with the flags.
func (s *scenario) check() error {
	switch {
	case s.nodes < 2 || s.nodes > maxNodes:
		return fmt.Errorf("-nodes must be 2 to %d", maxNodes)
	case s.members < 1 || s.connections < s.members || s.connections < s.nodes:
		return errors.New("-connections must be at least one room of -members, and one for each node")
	case s.interval <= 0 || s.cores <= 0:
		return errors.New("-interval and -cores must be above 0")
	}
	return nil
}

// rate returns how many events connections send to rooms in a second.
func (s *scenario) rate() float64 { return float64(s.connections) / s.interval.Seconds() }
