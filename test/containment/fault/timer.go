// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/demo/report"
	"github.com/otelcol-reflex/reflex/test/demo/workload"
)

// TimerPeriod is how often the timer thread is due.
const TimerPeriod = 10 * time.Millisecond

// turn is one wake-up of the timer thread, in ns: when it was due, and how late
// it was.
type turn struct{ due, late int64 }

// timer is a thread of ordinary priority that does nothing but wake up: how late
// it is, is the machine's doing. For each line "<from> <to>" (CLOCK_BOOTTIME, ns)
// it prints "late <p50> <p99>" in ms.
func timer(ctx context.Context, _ []string) error {
	var mu sync.Mutex
	turns := make([]turn, 0, 1<<17) // twenty minutes
	go func() {
		runtime.LockOSThread()
		for due := workload.Now(); ctx.Err() == nil; {
			due += int64(TimerPeriod)
			at := unix.NsecToTimespec(due)
			_ = unix.ClockNanosleep(unix.CLOCK_BOOTTIME, unix.TIMER_ABSTIME, &at, nil)
			now := workload.Now()
			mu.Lock()
			turns = append(turns, turn{due, now - due})
			mu.Unlock()
			due = max(due, now-int64(TimerPeriod)) // one that was very late does not catch up
		}
	}()
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var from, to int64
		if _, err := fmt.Sscan(lines.Text(), &from, &to); err != nil {
			return err
		}
		mu.Lock()
		late := lateness(turns, from, to)
		mu.Unlock()
		fmt.Printf("late %g %g\n", report.Percentile(late, 0.5), report.Percentile(late, 0.99))
	}
	return stay(ctx)
}

// lateness lists how late the turns between two instants were, in ms.
func lateness(turns []turn, from, to int64) (late []float64) {
	for _, t := range turns {
		if t.due >= from && t.due < to {
			late = append(late, float64(t.late)/1e6)
		}
	}
	return late
}
