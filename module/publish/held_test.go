package publish

import (
	"net/http"
	"runtime"
	"strconv"
	"testing"
)

// TestAnswersHold has answers kept of all sizes, and measures what they take.
func TestAnswersHold(t *testing.T) {
	live := func() int {
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int(stats.HeapAlloc)
	}
	for size, n := range map[int]int{0: MaxAnswers + 100, 40: MaxAnswers + 100, 3_000: MaxAnswers + 100, 100_000: 500} {
		var answers Answers
		before := live()
		for i := range n {
			answers.once(strconv.Itoa(i), digest{byte(i)}, func() (int, []byte) {
				return http.StatusOK, make([]byte, size, 2*size)
			})
		}
		grown, counted := live()-before, answers.bytes
		t.Logf("%d answers of %d bytes: %d are counted, %d held", len(answers.done), size, counted, grown)
		if grown > counted*3/2+1<<20 || counted > MaxAnswerBytes {
			t.Errorf("%d answers of %d bytes: %d are counted, %d held", len(answers.done), size, counted, grown)
		}
		runtime.KeepAlive(&answers)
	}
}
