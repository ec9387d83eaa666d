package main

import (
	"strings"
	"testing"
	"time"
)

// TestDisplay compares what is printed for tests that pass, fail and do not compile.
func TestDisplay(t *testing.T) {
	for name, test := range map[string]struct {
		events, want string
		failed       bool
	}{
		"passed": {events: `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA (2.00s)\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":2}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t2.0s\n"}
{"Action":"pass","Package":"p","Elapsed":2}
`, want: "00:00  pass TestA, 2.0 s\nok  \tp\t2.0s\n"},
		"failed": {events: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"output","Package":"p","Test":"TestA/one","Output":"    a_test.go:1: it is 2, not 1\n"}
{"Action":"output","Package":"p","Test":"TestA/one","Output":"    --- FAIL: TestA/one (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestA/one"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- FAIL: TestA (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`, want: "    a_test.go:1: it is 2, not 1\n    --- FAIL: TestA/one (0.00s)\n--- FAIL: TestA (0.00s)\nFAIL\tp\t0.1s\n", failed: true},
		"not compiled": {events: `{"ImportPath":"p","Action":"build-output","Output":"p/a.go:1:1: expected 'package'\n"}
{"ImportPath":"p","Action":"build-fail"}
`, want: "p/a.go:1:1: expected 'package'\n", failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			d := &display{out: &out, begun: time.Now(), output: make(map[string][]string)}
			for line := range strings.Lines(test.events) {
				d.add([]byte(line))
			}
			if out.String() != test.want || d.failed != test.failed {
				t.Errorf("failed is %v, and printed was\n%s\nnot\n%s", d.failed, out.String(), test.want)
			}
		})
	}
}

// TestRunning compares the line that names the running tests.
func TestRunning(t *testing.T) {
	var out strings.Builder
	d := &display{out: &out, begun: time.Now(), output: make(map[string][]string)}
	d.printRunning()
	for name := range strings.FieldsSeq("A B C D E F G H") {
		d.add([]byte(`{"Action":"run","Package":"p","Test":"Test` + name + `"}`))
	}
	d.add([]byte(`{"Action":"pass","Package":"p","Test":"TestA"}`))
	d.printRunning()
	const want = "00:00  0 tests passed; compiling, which takes minutes the first time\n" +
		"00:00  1 tests passed; TestB, TestC, TestD, TestE, TestF, TestG and 1 more run or wait\n"
	if out.String() != want {
		t.Errorf("printed was\n%s\nnot\n%s", out.String(), want)
	}
}
