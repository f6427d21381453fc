// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package healthy

import (
	"context"
	"math/rand/v2"
	"time"
)

// Runtime is a program with a heap, as on a JVM: it loads its classes, grows into
// its heap, settles, and from then on collects now and then, which gives some of
// the heap back and takes it again.
type Runtime struct {
	// Heap is what it grows to, in bytes, Grow how long that takes.
	Heap int
	Grow time.Duration
	// Collect is how often it collects on average. 0: it keeps what it has.
	Collect time.Duration
	// Share is the CPU time it takes once it has settled, as a part of a CPU.
	Share float64
	Seed  uint64
}

// Run runs until ctx ends.
func (r *Runtime) Run(ctx context.Context) error {
	random := rand.New(rand.NewPCG(r.Seed, 2))
	a, err := newArena(r.Heap + mebibyte)
	if err != nil {
		return err
	}
	for a.used < r.Heap/4 && ctx.Err() == nil { // classes: CPU time rather than memory
		compute(12 * time.Millisecond)
		a.grow(r.Heap / 200)
		pause(ctx, 15*time.Millisecond)
	}
	r.fill(ctx, a, r.Grow)
	next := time.Now().Add(r.after(random))
	for ctx.Err() == nil {
		compute(time.Duration(r.Share * float64(turn) * random.ExpFloat64()))
		a.touch(random.IntN(a.used), mebibyte/4)
		if r.Collect > 0 && time.Now().After(next) {
			a.touch(0, a.used)
			a.shrink(a.used * (70 + random.IntN(20)) / 100)
			r.fill(ctx, a, time.Duration(10+random.IntN(30))*time.Second)
			next = time.Now().Add(r.after(random))
		}
		pause(ctx, turn)
	}
	return nil
}

// after is the time to the next collection.
func (r *Runtime) after(random *rand.Rand) time.Duration {
	return time.Duration(float64(r.Collect) * (0.5 + random.Float64()))
}

// fill grows into the heap, fast first: objects that live on are found early.
func (r *Runtime) fill(ctx context.Context, a *arena, span time.Duration) {
	share := float64(turn) / float64(span)
	for a.used < r.Heap*98/100 && ctx.Err() == nil {
		compute(time.Duration(r.Share * float64(turn)))
		a.grow(max(int(3*share*float64(r.Heap-a.used)), 8*pageSize))
		pause(ctx, turn)
	}
	a.grow(r.Heap - a.used)
}
