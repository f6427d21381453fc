// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"runtime"
	"time"
)

// Pause waits for d or the end of ctx, which is its error.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Poll looks once a period, on a thread of its own, until it is stopped; stop waits
// for the last look. A look that takes longer costs others.
func Poll(period time.Duration, look func(turn int)) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		ticks := time.NewTicker(period)
		defer ticks.Stop()
		for turn := 0; ; turn++ {
			select {
			case <-quit:
				return
			case <-ticks.C:
			}
			look(turn)
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}
