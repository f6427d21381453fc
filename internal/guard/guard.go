// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// Guard holds leases. It is safe for concurrent use.
type Guard struct {
	config Config
	root   *cgroupfs.Root
	knobs  map[arc.Action]knob
	unlock func() // lets another guard have the root
	safe   *safelist

	// granting serialises the planning of grants: they are rare and count against
	// budgets. Their writes are made without it.
	granting sync.Mutex
	grants   [2]bucket // by bookOf: what observing spends costs enforcement nothing

	mu     sync.Mutex // covers what is below; never held while the kernel is called
	closed bool
	books  [2]map[leaseKey]*lease
	losses map[uint64]int
	damage map[leaseKey]Damage
	unread map[uint64]Damage // by cgroup: what could not be looked at, see retry
	early  [2]overtaken      // releases that came before their hold
	spent  [2]spent          // leases that have ended

	entered chan struct{} // a lease was: see Run

	network networkBook
	// The kernel's, replaced in tests.
	attach     func(*networkLease) (enforcement, error)
	interfaces func(index int) (name string, err error)

	log audit

	// fault stands between the guard and each write, in tests.
	fault func(step string, cgroup uint64) error
}

// bookOf separates leases that were written from those only thought of.
func bookOf(observe bool) int {
	if observe {
		return 1
	}
	return 0
}

// New returns a guard, after giving back every original that a former guard
// left turned below the root. It returns [ErrLocked] while another one is at
// work there: each would take the other for another owner of the knobs.
func New(config Config) (*Guard, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	var options []cgroupfs.Option
	if config.Attributes != nil {
		options = append(options, cgroupfs.WithAttributes(config.Attributes))
	}
	if config.Writes != nil {
		options = append(options, cgroupfs.WithWrites(config.Writes))
	}
	if config.calls != nil {
		options = append(options, cgroupfs.WithCalls(config.calls))
	}
	root, err := cgroupfs.OpenRoot(config.Root, options...)
	if err != nil {
		return nil, fmt.Errorf("start guard: %w", err)
	}
	g := &Guard{
		config: config,
		root:   root,
		knobs:  newKnobs(),
		safe:   newSafelist(config.Protect),
		books:  [2]map[leaseKey]*lease{{}, {}},
		losses: map[uint64]int{},
		damage: map[leaseKey]Damage{},
		unread: map[uint64]Damage{},

		entered: make(chan struct{}, 1),
	}
	g.attach, g.interfaces = g.attachPrograms, interfaceName
	for i := range g.grants {
		g.grants[i] = bucket{size: int64(config.GrantsPerMinute), per: int64(time.Minute)}
	}
	switch g.unlock, err = lockRoot(filepath.Dir(config.KillSwitch), root); {
	case errors.Is(err, ErrLocked):
		root.Close()
		return nil, fmt.Errorf("start guard: %w", err)
	case err != nil:
		// What is left turned has to go back, even where no file can be made.
		config.Logger.Warn("nothing keeps a second guard away", "cause", err)
		g.unlock = func() {}
	}
	g.since(config.Clock())
	if err := g.restoreLeftovers(); err != nil {
		root.Close()
		g.unlock()
		return nil, fmt.Errorf("restore what a former guard left: %w", err)
	}
	return g, nil
}

// Act carries out one order of the collector's. Everything decided is in out; the
// error is that of ctx, before anything was done. It does not wait for anything but
// the kernel.
func (g *Guard) Act(ctx context.Context, o arc.Order, out *arc.Outcome) error {
	return g.actFor(ctx, byCollector, o, out)
}

func (g *Guard) actFor(ctx context.Context, who orderer, o arc.Order, out *arc.Outcome) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("order about cgroup %d: %w", o.Cgroup, err)
	}
	*out = arc.Outcome{}
	path := g.act(ctx, who, &o, out)
	g.log.add(g.config.Clock(), path, &o, out)
	return nil
}

// act returns the path of the cgroup, where it came to know it.
func (g *Guard) act(ctx context.Context, who orderer, o *arc.Order, out *arc.Outcome) string {
	k, err := g.validate(o)
	if err == nil {
		err = who.may(o)
	}
	if err != nil {
		refuse(out, err)
		return ""
	}
	if on, why := g.killed(); on {
		if err := g.ReleaseAll("kill switch"); err != nil {
			why += "; " + err.Error() // Run goes on trying
		}
		if o.Verb == arc.Release {
			out.Verdict, out.Cause = arc.VerdictReleased, why
		} else {
			refuse(out, refusal(why))
		}
		return ""
	}
	if overNetwork(o.Action) {
		return g.actOnNetwork(ctx, o, out)
	}
	for {
		l := g.find(leaseKey{o.Cgroup, o.Action}, o.Observe)
		if o.Verb == arc.Release {
			return g.release(l, o, out)
		}
		if l != nil {
			if path, done := g.hold(l, o, out); done {
				return path
			}
		}
		path, wait := g.grant(ctx, k, o, out)
		if wait == nil {
			return path
		}
		wait.Lock()   // until the write that is under way is done
		wait.Unlock() //nolint:staticcheck // there is nothing to do in between
	}
}

// validate checks what can be checked without looking at the machine.
func (g *Guard) validate(o *arc.Order) (knob, error) {
	if err := validTarget(o); err != nil {
		return nil, err
	}
	k, known := g.knobs[o.Action]
	if !known && !overNetwork(o.Action) {
		return nil, refusal(fmt.Sprintf(arc.RefusedAction+" %q", o.Action))
	}
	if len(o.Reason) > MaxReason {
		return nil, refusal(fmt.Sprintf("the reason has %d bytes, at most %d are allowed", len(o.Reason), MaxReason))
	}
	switch o.Verb {
	case arc.Release:
	case arc.Hold:
		if ttl := time.Duration(o.TTL); ttl < MinTTL || ttl > MaxTTL {
			return nil, refusal(fmt.Sprintf("a lease of %v is not between %v and %v", ttl, MinTTL, MaxTTL))
		}
		if err := g.timely(o.Generation); err != nil {
			return nil, err
		}
	default:
		return nil, refusal(fmt.Sprintf("the guard has no verb %d", o.Verb))
	}
	if g.stopping() {
		return nil, errStopping
	}
	return k, nil
}

const errStopping = refusal("the guard is stopping")

func (g *Guard) stopping() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// killed reports whether the kill switch is on. Where that cannot be known it
// counts as on.
func (g *Guard) killed() (bool, string) {
	_, err := os.Lstat(g.config.KillSwitch)
	switch {
	case err == nil:
		return true, "the kill switch " + g.config.KillSwitch + " is on"
	case errors.Is(err, fs.ErrNotExist):
		return false, ""
	}
	return true, fmt.Sprintf("whether the kill switch is on cannot be known: %v", err)
}

// find returns the lease of a key, nil if there is none.
func (g *Guard) find(key leaseKey, observe bool) *lease {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.books[bookOf(observe)][key]
}

// enter puts a lease in its book.
func (g *Guard) enter(l *lease) {
	defer g.enters()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.books[bookOf(l.observed)][l.key] = l
}

// end ends a lease, whose generation is over from then on. The caller holds l.mu.
func (g *Guard) end(l *lease) {
	g.spend(l.key, l.record.Generation, l.observed)
	g.drop(l)
}

// drop takes a lease out of its book and closes its directory. The caller holds
// l.mu.
func (g *Guard) drop(l *lease) {
	l.ended = true
	l.dir.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	book := g.books[bookOf(l.observed)]
	if book[l.key] == l {
		delete(book, l.key)
	}
}

// leases returns the leases of one book.
func (g *Guard) leases(observe bool) []*lease {
	g.mu.Lock()
	defer g.mu.Unlock()
	book := g.books[bookOf(observe)]
	all := make([]*lease, 0, len(book))
	for _, l := range book {
		all = append(all, l)
	}
	return all
}

// refuse turns an error into an outcome: a decision of the guard's and a
// vanished target are refusals, anything else is a failure.
func refuse(out *arc.Outcome, err error) {
	var no refusal
	if errors.As(err, &no) || errors.Is(err, cgroupfs.ErrGone) {
		out.Verdict = arc.VerdictRefused
	} else {
		out.Verdict = arc.VerdictFailed
	}
	out.Cause = err.Error()
}

// Protect adds a process to the safelist, with its cgroup and all that cgroup's
// ancestors, until the returned function is called.
func (g *Guard) Protect(pid int) (forget func()) { return g.safe.protect(pid) }

// Close gives back every original and refuses orders from then on. What could
// not be given back is in the error; its record is still on the cgroup.
func (g *Guard) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	g.closed = true
	g.mu.Unlock()
	// The grant that is waited for next may be one that blocks.
	_, _ = g.releaseIdle("the guard is stopping") // what fails is tried again below
	g.granting.Lock()                             // a grant under way is in its book, or was never made
	defer g.granting.Unlock()
	err := g.ReleaseAll("the guard is stopping")
	g.readAgain(maxUnread)
	defer g.unlock()
	return errors.Join(err, g.unreadable(), g.root.Close())
}
