// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// lookEvery is how often the knobs are read.
	lookEvery = 2 * time.Millisecond
	// restoreWithin is what a lease promises beyond its end.
	restoreWithin = time.Second
	// blindFor is how long the judge may be kept from looking before what it saw
	// counts as nothing.
	blindFor = 250 * time.Millisecond
)

// judge polls the knobs and knows what their owner wants.
type judge struct {
	arena *arena
	ttl   time.Duration
	sent  *os.File // where the collector leaves when it sent its last order

	mu     sync.Mutex
	wanted string // the owner's value
	away   bool   // the target is being replaced
	alone  bool   // the target is not even to be turned
	was    verdict
	stop   chan struct{}
	done   chan struct{}
}

// verdict is what was seen in one case.
type verdict struct {
	turned bool // now
	ever   bool
	back   time.Duration // from the last order to the owner's value
	broken []string
	kinds  []string      // of broken
	blind  time.Duration // the longest time in which nothing was looked at
}

func newJudge(a *arena, ttl time.Duration, sent *os.File) *judge {
	j := &judge{arena: a, ttl: ttl, sent: sent, wanted: original, stop: make(chan struct{}), done: make(chan struct{})}
	go j.run()
	return j
}

func (j *judge) close() {
	close(j.stop)
	<-j.done
}

func (j *judge) run() {
	defer close(j.done)
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-j.stop:
			return
		case <-ticker.C:
		}
		j.look()
		j.mu.Lock()
		j.was.blind = max(j.was.blind, time.Since(last))
		j.mu.Unlock()
		last = time.Now()
	}
}

// begin forgets the case before.
func (j *judge) begin() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.was = verdict{}
}

// seen returns what was seen since begin.
func (j *judge) seen() verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.was
}

// owner lets the owner write the knob.
func (j *judge) owner(wants string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.wanted = wants
	return j.arena.write(target, "memory.high", wants)
}

// replace puts another cgroup in the target's place, which alone nobody may
// touch: the orders were about another one.
func (j *judge) replace(wants string, alone bool) error {
	set := func(away bool) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.away, j.wanted, j.alone, j.was.turned = away, wants, alone, false
	}
	set(true)
	if err := j.arena.replaceTarget(wants); err != nil {
		return err
	}
	set(false)
	return nil
}

// violated notes a broken promise, each once in a case.
func (j *judge) violated(format string, args ...any) {
	if !slices.Contains(j.was.kinds, format) {
		j.was.kinds = append(j.was.kinds, format)
		j.was.broken = append(j.was.broken, fmt.Sprintf(format, args...))
	}
}

// look reads the knobs once.
func (j *judge) look() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range others[1:] {
		if text, err := j.arena.read(c, "memory.high"); err != nil || text != ofOthers {
			j.violated("memory.high of %s is %q (%v)", c, text, err)
		}
	}
	if j.away {
		return
	}
	now, order := boottime(), j.ordered()
	value, err := j.arena.read(target, "memory.high")
	if err != nil || value == "" {
		j.violated("memory.high is %q (%v)", value, err)
		return
	}
	late := time.Duration(now - order)
	if value == j.wanted {
		if j.was.turned {
			j.was.back = max(j.was.back, late)
		}
		j.was.turned = false
		return
	}
	j.was.turned, j.was.ever = true, true
	if j.alone {
		j.violated("memory.high of another cgroup at the same path is %s", value)
	}
	if !tighter(value, j.wanted) {
		j.violated("memory.high is %s where its owner wants %s", value, j.wanted)
	}
	if order > 0 && late > j.ttl+restoreWithin {
		j.violated("memory.high is %s %.2f s after the last order, its owner wants %s", value, late.Seconds(), j.wanted)
	}
	if !j.arena.record() {
		// Between our looks the knob may have come back.
		if again, err := j.arena.read(target, "memory.high"); err == nil && again == value && !j.arena.record() {
			j.violated("memory.high is %s and there is no record of it", value)
		}
	}
}

// ordered returns when the collector sent its last order, 0 for never.
func (j *judge) ordered() int64 {
	var b [8]byte
	if n, _ := j.sent.ReadAt(b[:], 0); n < len(b) {
		return 0
	}
	return int64(binary.NativeEndian.Uint64(b[:]))
}

func tighter(value, than string) bool {
	v, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return false
	}
	limit, err := strconv.ParseUint(than, 10, 64)
	return v >= floorBytes && (err != nil || v < limit)
}
