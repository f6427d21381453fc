// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package healthy

import (
	"context"
	"math"
	"math/rand/v2"
	"time"
)

// Service is a server as its machine sees it: a working set, memory for what is
// going on, and requests that come as people do, more by day than by night. A day
// takes minutes here.
type Service struct {
	// Resident is what it always uses, Peak what it uses at its busiest, in bytes.
	Resident, Peak int
	// Share is the CPU time its requests take on average, as a part of a CPU,
	// Swing how much more or less than that a day brings (0 to 1), and Day how
	// long a day is.
	Share, Swing float64
	Day          time.Duration
	Seed         uint64
}

// turn is how often a service looks for work.
const turn = 100 * time.Millisecond

// Run serves until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	random := rand.New(rand.NewPCG(s.Seed, 1))
	a, err := newArena(s.Peak + mebibyte)
	if err != nil {
		return err
	}
	for a.used < s.Resident && ctx.Err() == nil { // reading in what it serves from
		a.grow(2 * mebibyte)
		pause(ctx, 20*time.Millisecond)
	}
	phase := random.Float64()
	crowd := 1.0
	began := time.Now()
	for ctx.Err() == nil {
		day := math.Sin(2 * math.Pi * (phase + time.Since(began).Seconds()/s.Day.Seconds()))
		crowd += 0.05*(1-crowd) + 0.04*random.NormFloat64() // comes and goes within a second
		load := max(crowd, 0.05) * (1 + s.Swing*day)
		compute(time.Duration(s.Share * load * float64(turn) * random.ExpFloat64()))
		a.touch(random.IntN(a.used), int(load*(128<<10)))
		// Sessions come with the load and go with it, a little at a time.
		want := s.Resident + int(float64(s.Peak-s.Resident)*min(load/(1+s.Swing)/1.3, 1))
		switch {
		case a.used < want-mebibyte:
			a.grow((want - a.used) / 64)
		case a.used > want+mebibyte:
			a.shrink(a.used - (a.used-want)/64)
		}
		pause(ctx, turn)
	}
	return nil
}

// pause sleeps, or less if ctx ends.
func pause(ctx context.Context, span time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(span):
	}
}
