// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

// restoreWithin is what every lease promises beyond its TTL.
const restoreWithin = time.Second

// Guard is a supervised reflexguard in a cgroup of its own.
type Guard struct {
	*Process
	cgroup Cgroup
	client *guard.Client
}

// StartGuard starts reflexguard supervise and waits until it answers.
func StartGuard(t testing.TB) *Guard {
	t.Helper()
	g := &Guard{cgroup: MakeCgroup(t, "/reflex/guard"), client: guard.Dial(guard.DefaultSocket)}
	t.Cleanup(func() { _ = g.client.Close() })
	g.Again(t)
	return g
}

// Again starts the supervisor, as a service manager does after its death, and
// waits until the guard answers.
func (g *Guard) Again(t testing.TB) {
	t.Helper()
	g.Process = Start(t, "guard", g.cgroup, nil, "/bin/reflexguard", "supervise")
	Eventually(t, 20*time.Second, func() error {
		_, err := g.client.Status(context.Background())
		return err
	})
}

// Child returns the pid of the guard below its supervisor.
func (g *Guard) Child(t testing.TB) (pid int) {
	t.Helper()
	Eventually(t, 10*time.Second, func() error {
		children := g.Children(t)
		if len(children) != 1 {
			return errors.New("the supervisor has no child")
		}
		pid = children[0]
		return nil
	})
	return pid
}

// KillChild kills the guard and leaves its supervisor alone.
func (g *Guard) KillChild(t testing.TB) time.Time {
	t.Helper()
	pid := g.Child(t)
	now := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill the guard: %v", err)
	}
	return now
}

// Hold orders memory.high of a cgroup to be held.
func (g *Guard) Hold(t testing.TB, c Cgroup, ceiling uint64, ttl time.Duration, observe bool) arc.Outcome {
	t.Helper()
	order := arc.Order{
		Cgroup: c.ID(t), Action: arc.ActionMemoryHigh, Verb: arc.Hold, Observe: observe,
		Parameter: ceiling, TTL: int64(ttl), Reason: "ordered by a test",
	}
	var out arc.Outcome
	// Restarted a moment ago, the guard may still be on its way.
	Eventually(t, 10*time.Second, func() error {
		order.Generation = decided(t) // decided when it is sent, so after its guard started
		return g.client.Act(context.Background(), order, &out)
	})
	return out
}

// decided is now, as the generation of an order.
func decided(t testing.TB) uint64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	return uint64(ts.Nano())
}

// Records returns every cgroup directory that carries an attribute, with it.
func Records(t testing.TB) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	Walk(func(dir string) {
		names, err := Attributes(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("list the attributes of %s: %v", dir, err)
		}
		if len(names) > 0 {
			found[dir] = names
		}
	})
	return found
}

// order sends an order whose answer nobody waits for long: its guard may die.
func order(t testing.TB, g *Guard, c Cgroup, ceiling uint64, ttl time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var out arc.Outcome
	_ = g.client.Act(ctx, arc.Order{
		Cgroup: c.ID(t), Action: arc.ActionMemoryHigh, Verb: arc.Hold,
		Parameter: ceiling, TTL: int64(ttl), Generation: decided(t), Reason: "ordered by a test",
	}, &out)
}

// killNow sends SIGKILL to a process that may be gone.
func killNow(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }

// none is an error if there are records.
func none(records map[string][]string) error {
	if len(records) > 0 {
		return fmt.Errorf("attributes on cgroups: %v", records)
	}
	return nil
}
