// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "time"

const (
	// burstGap is how long a burst may pause.
	burstGap = int64(time.Second)
	// longestBurst bounds what is learned: nobody teaches that others wait for longer.
	longestBurst = 20 * int64(time.Second)
	// shortestBurst is below what a rate can tell.
	shortestBurst = 2 * int64(time.Second)
)

// bursts knows for how long each cgroup has used more CPU than usual before it came
// back by itself: the jobs of a cron, the collections of a heap. Who does so again is
// waited for as long, and a quarter longer.
type bursts struct {
	perSlot[burst]
	times  *rates
	turned int64
}

// burst is the present one of a cgroup, and the longest of this generation and the one
// before.
type burst struct {
	since, last int64 // when it began and was last seen; 0 for none
	held        bool
	longest     [2]int64
}

func newBursts(times *rates) *bursts {
	b := &bursts{times: times}
	times.add(b, 0)
	return b
}

// observe follows the bursts at instant now: what is more than usual by least CPUs.
func (b *bursts) observe(now int64, least float64) {
	turn := now-b.turned >= habitFor
	if turn {
		b.turned = now
	}
	for _, slot := range b.times.last {
		if slot < 0 {
			continue
		}
		one := &b.of[slot]
		if turn {
			one.longest[1], one.longest[0] = one.longest[0], 0
		}
		usual, _ := b.times.usual(slot)
		switch {
		case b.times.now(slot)-usual >= least:
			if one.since == 0 {
				one.since = now
			}
			one.last = now
		case one.since != 0 && now-one.last >= burstGap:
			if !one.held {
				one.longest[0] = max(one.longest[0], min(one.last-one.since, longestBurst))
			}
			one.since, one.held = 0, false
		}
	}
}

// hold notes that a lease is held on slot, and what it does not all its own.
func (b *bursts) hold(slot int32) {
	for depth := 0; slot >= 0 && depth < maxDepth; depth++ {
		b.of[slot].held = true
		slot = b.times.parent(slot)
	}
}

// expects says that slot has been in a burst for no longer than before.
func (b *bursts) expects(slot int32, now int64) bool {
	one := &b.of[slot]
	longest := max(one.longest[0], one.longest[1])
	return one.since != 0 && longest >= shortestBurst && now-one.since <= longest+longest/4
}
