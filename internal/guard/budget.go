// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import "sync"

// bucket is a token bucket: size tokens, all back after per. Its user holds a
// lock of its own.
type bucket struct {
	size, per int64
	spent     int64 // tokens missing, scaled by per
	at        int64
}

func (b *bucket) take(now int64) bool {
	if since := now - b.at; since > 0 {
		b.spent = max(0, b.spent-min(since, b.per)*b.size)
	}
	b.at = now
	if b.spent+b.per > b.size*b.per {
		return false
	}
	b.spent += b.per
	return true
}

// pidset counts processes: one may be connected twice.
type pidset struct {
	mu   sync.Mutex
	pids map[int]int
}

func (s *pidset) add(pid int) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pids == nil {
		s.pids = map[int]int{}
	}
	s.pids[pid]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.pids[pid]--; s.pids[pid] <= 0 {
			delete(s.pids, pid)
		}
	})
}

func (s *pidset) has(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pids[pid] > 0
}
