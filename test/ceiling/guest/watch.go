// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/ceiling"
	"github.com/otelcol-reflex/reflex/test/demo/workload"
	"github.com/otelcol-reflex/reflex/test/stage"
)

const (
	watchPeriod = 50 * time.Millisecond
	sampleTurns = 5 // a sample of memory every 250 ms
)

// watch follows the services' memory from outside.
type watch struct {
	mu     sync.Mutex
	seen   []seen
	turns  []int64 // when it came to look
	before [2]uint64
	began  int64
	end    func()
}

// seen is what is known of one service.
type seen struct {
	name        string
	usage, high int // open files
	samples     []ceiling.Sample
	held        int64
	at          uint64 // where it was held first
}

func startWatch(services []*service) (*watch, error) {
	w := &watch{began: workload.Now()}
	w.before = processors()
	for _, s := range services {
		v := seen{name: s.Name}
		for _, f := range []struct {
			into *int
			name string
		}{{&v.usage, "memory.current"}, {&v.high, "memory.high"}} {
			fd, err := unix.Open(filepath.Join(s.group.Dir, f.name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, fmt.Errorf("watch %s of %s: %w", f.name, s.Name, err)
			}
			*f.into = fd
		}
		w.seen = append(w.seen, v)
	}
	buf := make([]byte, 64)
	w.end = stage.Poll(watchPeriod, func(turn int) {
		now := workload.Now()
		w.turns = append(w.turns, now)
		w.mu.Lock()
		defer w.mu.Unlock()
		for i := range w.seen {
			w.seen[i].look(buf, now, turn%sampleTurns == 0)
		}
	})
	return w, nil
}

// look reads a service's memory.
func (v *seen) look(buf []byte, now int64, sample bool) {
	high, ok := number(v.high, buf)
	if !ok {
		return // it is gone
	}
	if high < ceiling.Unlimited && v.held == 0 {
		v.held, v.at = now, high
	}
	if usage, ok := number(v.usage, buf); ok && sample {
		v.samples = append(v.samples, ceiling.Sample{Time: now, Usage: usage, High: high})
	}
}

func number(fd int, buf []byte) (uint64, bool) {
	n, err := unix.Pread(fd, buf, 0)
	if err != nil {
		return 0, false
	}
	v, err := stage.ParseNumber(buf[:n])
	return v, err == nil
}

// held returns when a service was first held, and where.
func (w *watch) held(name string) (at int64, high uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.seen {
		if v := &w.seen[i]; v.name == name && v.held != 0 {
			return v.held, v.at
		}
	}
	return 0, 0
}

// stop ends the watch and puts what it saw into the arm's recording.
func (w *watch) stop(a *arm) {
	w.end()
	for i := range w.seen {
		v := &w.seen[i]
		_, _ = unix.Close(v.usage), unix.Close(v.high)
		s := a.services[i]
		s.Samples, s.Held, s.High = v.samples, v.held, v.at
	}
	a.rec.Lateness, a.rec.CPUs = lateness(w.turns), runtime.NumCPU()
	after := processors()
	if all := after[1] - w.before[1]; all > 0 {
		a.rec.Busy = float64(after[0]-w.before[0]) / float64(all) * float64(a.rec.CPUs)
	}
}

// lateness is the 99th percentile of how late a timer was, in ms.
func lateness(turns []int64) float64 {
	var late []int64
	for i := 1; i < len(turns); i++ {
		late = append(late, max(0, turns[i]-turns[i-1]-int64(watchPeriod)))
	}
	if len(late) == 0 {
		return 0
	}
	slices.Sort(late)
	return float64(late[len(late)*99/100]) / 1e6
}

// processors returns the busy and all ticks of all CPUs (proc(5), stat).
func processors() (ticks [2]uint64) {
	text, err := readFile("/proc/stat")
	if err != nil {
		return ticks
	}
	line, _, _ := strings.Cut(text, "\n")
	for i, field := range strings.Fields(line) {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil || i > 8 { // the name; and guests, who are counted already
			continue
		}
		if ticks[1] += n; i != 4 && i != 5 { // idle, iowait
			ticks[0] += n
		}
	}
	return ticks
}
