// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Change is a value of memory.high that the watcher saw for the first time after
// another one.
type Change struct {
	At    time.Time
	Value string
}

// Watch follows memory.high of one cgroup from outside, every few milliseconds.
type Watch struct {
	cgroup Cgroup
	mu     sync.Mutex
	seen   []Change
	done   chan struct{}
	ended  sync.WaitGroup
}

// watchEvery is short against the time that a guard needs to come back, so that
// an original that is restored and soon replaced is still seen.
const watchEvery = 5 * time.Millisecond

// WatchHigh starts to watch; the first entry is the value of the moment.
func WatchHigh(t testing.TB, c Cgroup) *Watch {
	t.Helper()
	f, err := os.Open(filepath.Join(c.Dir(), "memory.high"))
	if err != nil {
		t.Fatalf("watch %s: %v", c, err)
	}
	w := &Watch{cgroup: c, done: make(chan struct{})}
	buf := make([]byte, 64)
	look := func() bool {
		n, err := f.ReadAt(buf, 0)
		if n == 0 && err != nil {
			return false // the cgroup is gone
		}
		value := bytes.TrimSpace(buf[:n])
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.seen) == 0 || w.seen[len(w.seen)-1].Value != string(value) {
			w.seen = append(w.seen, Change{time.Now(), string(value)})
		}
		return true
	}
	if !look() {
		t.Fatalf("watch %s: memory.high cannot be read", c)
	}
	w.ended.Add(1)
	go func() {
		defer w.ended.Done()
		defer f.Close()
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		for {
			select {
			case <-w.done:
				return
			case <-ticker.C:
				if !look() {
					return
				}
			}
		}
	}()
	t.Cleanup(w.Stop)
	return w
}

// Stop ends the watch. It may be called again.
func (w *Watch) Stop() {
	w.mu.Lock()
	select {
	case <-w.done:
	default:
		close(w.done)
	}
	w.mu.Unlock()
	w.ended.Wait()
}

// Changes returns what was seen so far.
func (w *Watch) Changes() []Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Change(nil), w.seen...)
}

// Await waits until a value that satisfies want appears at or after since, and
// returns when that was.
func (w *Watch) Await(t testing.TB, what string, since time.Time, patience time.Duration, want func(value string) bool) time.Time {
	t.Helper()
	var at time.Time
	Eventually(t, patience, func() error {
		for _, c := range w.Changes() {
			if !c.At.Before(since) && want(c.Value) {
				at = c.At
				return nil
			}
		}
		return fmt.Errorf("memory.high of %s: %s has not happened, seen: %s", w.cgroup, what, w)
	})
	return at
}

// String lists the values, with seconds since the first.
func (w *Watch) String() string {
	seen := w.Changes()
	var b strings.Builder
	for i, c := range seen {
		if i == 8 && len(seen) > 16 {
			fmt.Fprintf(&b, "… %d more … ", len(seen)-16)
		}
		if i < 8 || i >= len(seen)-8 {
			fmt.Fprintf(&b, "%.3fs %s; ", c.At.Sub(seen[0].At).Seconds(), c.Value)
		}
	}
	return b.String()
}

// Untouched fails the test unless memory.high never changed.
func (w *Watch) Untouched(t testing.TB) {
	t.Helper()
	if seen := w.Changes(); len(seen) != 1 {
		t.Errorf("memory.high of the innocent %s changed: %s", w.cgroup, w)
	}
	if names, err := Attributes(w.cgroup.Dir()); err != nil || len(names) != 0 {
		t.Errorf("the innocent %s carries attributes %q (%v)", w.cgroup, names, err)
	}
}

// Eventually polls until f returns nil, and fails the test with its last error
// after patience.
func Eventually(t testing.TB, patience time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
